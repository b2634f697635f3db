//! Passkeys, with the authenticator that Chromium has for tests.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{Browser, start};

/// A page of another origin of the same domain: another port. Returns its address.
fn other_origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!(
        "http://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            let _ = tcp.read(&mut [0; 4096]);
            let page = "<!DOCTYPE html><title>other</title>";
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                page.len()
            );
            let _ = tcp.write_all((head + page).as_bytes());
        }
    });
    at
}

/// Has the authenticator answer a challenge on the page that is open.
fn answered(browser: &mut Browser, challenge: &Value) -> Value {
    browser.run(&format!(
        "(async () => {{
          const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
          const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
          const publicKey = {{ challenge: bytes({challenge}), rpId: 'localhost', userVerification: 'required' }};
          const {{ rawId, response }} = await navigator.credentials.get({{ publicKey }});
          return {{ credential: text(rawId), client: text(response.clientDataJSON), authenticator: text(response.authenticatorData), signature: text(response.signature) }};
        }})()"
    ))
}

/// Sends an answer by the form of the login page, without asking the authenticator.
fn sent(browser: &mut Browser, answer: &Value) {
    browser.run(&format!(
        "{{ const form = document.querySelector('[data-passkey=get]');
            for (const [name, value] of Object.entries({answer})) form.elements[name].value = value;
            form.submit(); }}"
    ));
}

const CHALLENGE: &str = "document.querySelector('[data-passkey=get]')?.dataset.challenge";

#[test]
fn a_passkey_is_registered_used_and_refused_for_a_wrong_origin() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    // A number has no passkeys, and says so.
    let mut browser = Browser::start();
    browser.open(&panel);
    browser.see("first-admin-form");
    let panel = panel.replace("127.0.0.1", "localhost");
    browser.call("WebAuthn.enable", json!({}));
    let options = json!({"protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
                         "isUserVerified": true, "automaticPresenceSimulation": true});
    browser.call(
        "WebAuthn.addVirtualAuthenticator",
        json!({"options": options}),
    );
    browser.open(&panel);
    let here = "location.hostname === 'localhost' && !!document.querySelector('#code')";
    browser.until("the page by its name", here);
    browser.fill("#code", &code);
    browser.fill("#first-name", "root");
    browser.fill("#first-password", "xK9!rQ2#vB7z");
    browser.click("first-admin-button");
    browser.see("control-panel-header");
    browser.open(&format!("{panel}settings"));
    let ready =
        |id: &str| format!("document.querySelector('[data-testid={id}]')?.hidden === false");
    browser.until("the form of a passkey", &ready("add-passkey-button"));
    // A session alone makes no passkey: that would outlast it.
    browser.fill("#k-name", "laptop");
    browser.fill("#k-password", "not the password");
    browser.click("add-passkey-button");
    let why = browser.see("error-notification");
    assert!(why.contains("password is another one"), "{why}");
    browser.open(&format!("{panel}settings"));
    browser.until("the form of a passkey", &ready("add-passkey-button"));
    browser.fill("#k-name", "laptop");
    browser.fill("#k-password", "xK9!rQ2#vB7z");
    browser.click("add-passkey-button");
    browser.see("success-notification");
    assert!(browser.see("passkey").contains("laptop"));

    browser.click("logout-button");
    browser.until("the login by passkey", &ready("passkey-login-button"));
    browser.click("passkey-login-button");
    browser.see("control-panel-header");
    assert_eq!(browser.see("account-name"), "root");

    // A page of another origin has the same authenticator answer our challenge.
    browser.click("logout-button");
    let challenge = browser.until("a challenge", CHALLENGE);
    browser.open(&other_origin());
    browser.until("the other origin", "document.title === 'other'");
    let stolen = answered(&mut browser, &challenge);
    assert!(stolen["signature"].is_string(), "{stolen}");
    browser.open(&format!("{panel}login"));
    browser.until("the login", CHALLENGE);
    sent(&mut browser, &stolen);
    let why = browser.see("error-notification");
    assert!(why.contains("origin is not this site's"), "{why}");
    // The same challenge is good for the right origin, and only once.
    browser.open(&format!("{panel}login"));
    browser.until("the login", CHALLENGE);
    let right = answered(&mut browser, &challenge);
    sent(&mut browser, &right);
    browser.see("control-panel-header");
    browser.click("logout-button");
    browser.until("the login", CHALLENGE);
    sent(&mut browser, &right);
    let why = browser.see("error-notification");
    assert!(why.contains("expired"), "{why}");
}
