// Keeps the parts of a page with `data-live` fresh. Everything works without it: each part is drawn by the server, and the page is a link.
const live = () => [...document.querySelectorAll("[data-live]")];
const at = (id) => document.getElementById(id);
const root = document.documentElement;
const REST = 1000, EVERY = 10000, STALE = 10000;
let paused = false, due = 0, busy = false, last = Date.now(), source = null, retry = null;

// The theme is the only thing that is kept in the browser.
const theme = at("theme");
const setTheme = (name) => {
  if (name === "light" || name === "dark") root.dataset.theme = name;
  else delete root.dataset.theme;
};
try { setTheme(localStorage.getItem("theme")); } catch { /* Storage is switched off. */ }
if (theme) {
  theme.hidden = false;
  theme.value = root.dataset.theme || "system";
  theme.addEventListener("change", () => {
    setTheme(theme.value);
    try { localStorage.setItem("theme", theme.value); } catch { /* The choice lasts for this page. */ }
  });
}

const say = (text) => { const out = at("announce"); if (out && out.textContent !== text) out.textContent = text; };

const status = (word, text) => {
  const out = at("ws-status");
  if (!out || out.dataset.status === word) return;
  out.dataset.status = word;
  out.textContent = text;
  const gone = at("gone");
  if (gone) gone.hidden = word !== "disconnected";
  if (word === "disconnected") say(gone ? gone.textContent : text);
};

// A form that somebody fills in is left alone.
const inUse = (part) => {
  const focus = document.activeElement;
  const typing = focus && part.contains(focus) && /^(INPUT|SELECT|TEXTAREA)$/.test(focus.tagName);
  return typing || part.contains(document.getSelection()?.anchorNode) && !document.getSelection().isCollapsed;
};

const replace = (text) => {
  const page = new DOMParser().parseFromString(text, "text/html");
  const stamp = page.getElementById("stamp"), shown = at("stamp");
  // A page that was overtaken is left out, unless none is newer for long: then the journal was restored.
  if (stamp && shown && Number(stamp.dataset.position) < Number(shown.dataset.position) && Date.now() - last < STALE) return false;
  for (const old of live()) {
    const fresh = old.id && page.getElementById(old.id);
    if (!fresh || inUse(old)) continue;
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    const key = focus && (focus.id ? "#" + CSS.escape(focus.id)
      : focus.dataset.testid ? `[data-testid="${CSS.escape(focus.dataset.testid)}"]` : null);
    const open = [...old.querySelectorAll("details[open][id]")].map((d) => d.id);
    const node = document.importNode(fresh, true);
    old.replaceWith(node);
    for (const id of open) { const d = at(id); if (d) d.open = true; }
    if (key) node.querySelector(key)?.focus({ preventScroll: true });
  }
  if (stamp && shown) shown.replaceWith(document.importNode(stamp, true));
  return true;
};

// The page, whose format is HTML, without the notice of what was just done.
const here = () => {
  const url = new URL(location.href);
  url.searchParams.delete("done");
  url.searchParams.delete("format");
  return url.pathname + url.search;
};
const fresh = () => { last = Date.now(); root.classList.remove("stale"); };

const fetchPage = async () => {
  if (busy || paused || document.hidden) return;
  busy = true;
  const loading = document.querySelector("[data-testid=loading-card]");
  const slow = setTimeout(() => { if (loading) loading.hidden = false; }, 400);
  try {
    const answer = await fetch(here(), { headers: { accept: "text/html" }, cache: "no-store", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
    if (answer.ok) {
      if (replace(await answer.text())) fresh();
    }
  } catch { /* The event stream tells that the coordinator is gone. */ } finally {
    clearTimeout(slow);
    if (loading) loading.hidden = true;
    busy = false;
  }
};

// The first event of a burst is shown at once, and the rest together a second later.
const refresh = () => {
  const now = Date.now();
  if (due > now) return;
  const wait = Math.max(0, last + REST - now);
  due = now + wait + 1;
  setTimeout(() => { due = 0; fetchPage(); }, wait);
};

const connect = () => {
  if (source || paused) return;
  const topics = new Set(live().flatMap((part) => part.dataset.live.split(" ")));
  if (!topics.size) return;
  // A query has a bound. A longer page is asked for after each event instead.
  const page = encodeURIComponent(here());
  source = new EventSource("/events?topics=" + encodeURIComponent([...topics].join(",")) + (page.length <= 3000 ? "&page=" + page : ""));
  source.addEventListener("open", () => { status("connected", "live"); refresh(); });
  source.addEventListener("error", () => {
    status("disconnected", "not connected");
    // The browser comes back by itself, unless the answer was an error.
    if (source && source.readyState === EventSource.CLOSED) {
      source = null;
      clearTimeout(retry);
      retry = setTimeout(connect, 3000);
    }
  });
  // The server drops a stream whose page does not say, every 30 s, that it reads, and up to which page.
  let stream = "", number = 0;
  source.addEventListener("stream", (event) => { stream = JSON.parse(event.data).stream; number = 0; });
  const seen = () => { fetch("/events/seen?stream=" + stream + "&page=" + number, { cache: "no-store" }).catch(() => {}); };
  source.addEventListener("beat", seen);
  // The server draws the page after changes, once the one before is shown; where it cannot, it says that something changed.
  source.addEventListener("page", (event) => {
    const page = JSON.parse(event.data);
    if (replace(page.html)) fresh();
    number = page.number;
    seen();
  });
  source.addEventListener("reset", refresh);
  for (const topic of topics) source.addEventListener(topic, refresh);
};

const close = () => { source?.close(); source = null; };

const pause = at("pause");
if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) { close(); status("paused", "paused"); } else { connect(); refresh(); }
  });
}

addEventListener("pagehide", close);
addEventListener("pageshow", connect);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(() => {
  if (Date.now() - last > STALE + REST) root.classList.add("stale");
  if (live().length) refresh();
}, EVERY);
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-testid=refresh-button]");
  if (button && live().length && !event.ctrlKey && !event.metaKey) { event.preventDefault(); last = 0; refresh(); say("refreshing"); }
});
connect();

// Passkeys: the browser asks its authenticator, and the form carries the answer.
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const passkey = {
  get: async (form) => {
    const publicKey = { challenge: bytes(form.dataset.challenge), rpId: form.dataset.domain, userVerification: "required" };
    const { rawId, response } = await navigator.credentials.get({ publicKey });
    return { credential: rawId, client: response.clientDataJSON, authenticator: response.authenticatorData, signature: response.signature };
  },
  create: async (form) => {
    const { challenge, domain, user, name, known } = form.dataset;
    const { response } = await navigator.credentials.create({ publicKey: {
      challenge: bytes(challenge), rp: { id: domain, name: "Betanet" }, user: { id: bytes(user), name, displayName: name },
      pubKeyCredParams: [-8, -7].map((alg) => ({ type: "public-key", alg })), attestation: "none",
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
      excludeCredentials: known.split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: bytes(id) })),
    } });
    return { client: response.clientDataJSON, attestation: response.attestationObject };
  },
};
for (const form of window.PublicKeyCredential ? document.querySelectorAll("form[data-passkey]") : []) {
  const button = form.querySelector("button"), error = form.querySelector("[data-testid=passkey-error]");
  button.hidden = false;
  form.querySelector("[data-passkey-none]").hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const answer = await passkey[form.dataset.passkey](form);
      for (const [name, value] of Object.entries(answer)) form.elements[name].value = text64(value);
      form.submit();
    } catch (why) {
      error.textContent = "The passkey was not used: " + why.message;
      error.hidden = false;
      button.disabled = false;
    }
  });
}

// A job file is read into the form here, so that it can be looked at and changed before it is sent.
for (const input of document.querySelectorAll("input[data-into]")) {
  input.parentElement.hidden = false;
  input.addEventListener("change", async () => {
    const file = input.files[0], text = at(input.dataset.into);
    if (!file) return;
    if (file.size > text.maxLength) { say("The file is too long."); return; }
    text.value = await file.text();
    at("j-format").value = file.name.endsWith(".json") ? "json" : "toml";
  });
}
