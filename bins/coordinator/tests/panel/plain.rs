//! What pages need: no script, no other site, and nothing that their own rules forbid.

use super::*;

/// Counts what the page's rules forbid.
const WATCH: &str = "window.csp = []; addEventListener('securitypolicyviolation', e => csp.push(e.violatedDirective + ' ' + e.blockedURI))";

/// Pages of the navigation.
fn pages(browser: &mut Browser) -> Vec<String> {
    let links =
        "[...document.querySelectorAll('[data-testid=desktop-nav] a')].map(a => a.pathname)";
    let all = browser.run(links);
    let all = all.as_array().cloned().unwrap_or_default();
    let all: Vec<String> = all.iter().map(|p| p.as_str().unwrap().to_owned()).collect();
    assert!(all.len() >= 8, "{all:?}");
    all
}

impl Browser {
    /// Sends a form by its button, and waits for the page that answers.
    fn send(&mut self, id: &str) {
        self.run("window.old = true");
        self.click(id);
        let there = "!window.old && document.readyState === 'complete'";
        self.until(id, there);
    }
}

#[test]
fn without_script_every_page_and_form_works() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let site = panel.trim_end_matches('/');
    let mut browser = Browser::start();
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    );
    browser.first(&panel, &code);
    // The page's own script did not run.
    assert_eq!(browser.see("ws-status"), "updates on reload");

    // A task is planned, submitted and cancelled.
    let module = home.path().join("hello.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    browser.go(&format!("{site}/tasks"));
    browser.choose("#s-file", &module);
    browser.send("plan-task-button");
    assert!(browser.see("plan").contains("It would wait"));
    browser.choose("#s-file", &module);
    browser.send("submit-task-button");
    browser.see("success-notification");
    browser.send("cancel-task-button");
    assert!(browser.see("status-badge-cancelled").contains("cancelled"));
    let task = browser.run("location.pathname");

    // A node is ordered, joins, and goes out of service.
    browser.go(&format!("{site}/nodes"));
    browser.fill("#t-org", "acme");
    browser.send("node-token-button");
    let command = browser.see("node-command");
    let token = command.split_whitespace().find(|w| w.starts_with("bnj1"));
    states::join(token.unwrap());
    browser.go(&format!("{site}/nodes?q=acme"));
    let node = browser.run("document.querySelector('[data-testid^=node-card-] a').pathname");
    let node = node.as_str().unwrap().to_owned();
    browser.go(&format!("{site}{node}"));
    browser.send("maintenance-button");
    assert!(
        browser
            .see("success-notification")
            .contains("out of service")
    );

    // A job file that is wrong comes back with what is wrong.
    browser.go(&format!("{site}/jobs"));
    browser.run("document.querySelector('form textarea').value = 'no job'");
    browser.send("plan-job-button");
    browser.see("error-notification");
    let kept = browser.run("document.querySelector('form textarea').value");
    assert_eq!(kept, json!("no job"));

    // Each page is whole, and each of its forms can be sent to this site; a passkey alone needs script, and says so.
    let mut all = pages(&mut browser);
    all.extend([task.as_str().unwrap().to_owned(), node]);
    let mut forms = 0;
    for page in all {
        browser.go(&format!("{site}{page}"));
        browser.see("main-content");
        let waits = browser.run("document.querySelector('[data-testid=loading-card]').hidden");
        assert_eq!(waits, json!(true), "{page}");
        let dead = "[...document.forms].filter(f => { \
                    const button = f.querySelector('button, input[type=submit]'); \
                    const to = new URL(f.getAttribute('action') ?? '', location.href); \
                    const how = (f.getAttribute('method') ?? 'get').toLowerCase(); \
                    const own = to.origin === location.origin && ['get', 'post'].includes(how); \
                    const shown = f.dataset.passkey ? !f.querySelector('[data-passkey-none]').hidden : !button.hidden && !button.disabled; \
                    return !own || !shown; }).map(f => f.outerHTML)";
        assert_eq!(browser.run(dead), json!([]), "{page}");
        forms += browser.run("document.forms.length").as_u64().unwrap();
    }
    assert!(forms >= 20, "{forms}");
    browser.send("logout-button");
    browser.see("login-form");
    browser.fill("#name", "root");
    browser.fill("#password", PASSWORD);
    browser.send("login-button");
    browser.see("control-panel-header");
}

#[test]
fn pages_ask_no_other_site_and_keep_their_own_rules() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let site = panel.trim_end_matches('/');
    let mut browser = Browser::start();
    browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({"source": WATCH}),
    );
    browser.first(&panel, &code);
    let look = |browser: &mut Browser, page: &str| {
        assert_eq!(browser.run("csp"), json!([]), "{page}");
        let asked = browser.run("performance.getEntriesByType('resource').map(e => e.name)");
        let asked = asked.as_array().unwrap();
        // The style and the script at least, so that they are counted at all.
        assert!(asked.len() >= 2, "{page}: {asked:?}");
        let own = |name: &Value| name.as_str().unwrap().starts_with(&panel);
        assert!(asked.iter().all(own), "{page}: {asked:?}");
    };
    for page in pages(&mut browser) {
        browser.go(&format!("{site}{page}"));
        look(&mut browser, &page);
        let live = browser.run("document.querySelector('[data-live]') !== null");
        if live == json!(true) {
            browser.status("connected");
            look(&mut browser, &page);
        }
    }
    // What the rules forbid is counted.
    browser
        .run("document.body.append(Object.assign(new Image(), {src: 'http://192.0.2.1/x.png'}))");
    browser.until("the report", "csp.length === 1");
    browser.go(&format!("{site}/control-panel"));
    browser.click("logout-button");
    browser.see("login-form");
    look(&mut browser, "/login");
}
