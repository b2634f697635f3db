//! Five jobs by keyboard alone: log in, add a node, submit a task, find why it waits, read the audit log.

use super::*;

/// Most presses of Tab on the way to an element.
const TABS: usize = 120;

impl Browser {
    fn key(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    fn enter(&mut self) {
        self.key("Enter", 13, "\r");
    }

    /// Presses Tab until an element has the focus, which must be visible then.
    fn tab_to(&mut self, selector: &str) {
        let focused = format!("document.activeElement?.matches({})", json!(selector));
        for _ in 0..TABS {
            self.key("Tab", 9, "");
            if self.run(&focused) == json!(true) {
                let outline = "getComputedStyle(document.activeElement).outlineStyle";
                assert_ne!(
                    self.run(outline),
                    json!("none"),
                    "{selector} shows no focus"
                );
                return;
            }
        }
        let page = self.run("document.documentElement.outerHTML");
        panic!("Tab does not lead to {selector}; the page is {page}");
    }

    fn insert(&mut self, selector: &str, text: &str) {
        self.tab_to(selector);
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Follows a link of the navigation by keyboard.
    fn follow(&mut self, path: &str) {
        self.tab_to(&format!("[data-testid=desktop-nav] a[href=\"{path}\"]"));
        self.enter();
        let there = format!(
            "location.pathname === {} && document.readyState === 'complete'",
            json!(path)
        );
        self.until(path, &there);
    }
}

#[test]
fn five_jobs_are_done_by_keyboard_alone() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let mut browser = Browser::start();
    browser.call(
        "Emulation.setFocusEmulationEnabled",
        json!({"enabled": true}),
    );
    let wide = json!({"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false});
    browser.call("Emulation.setDeviceMetricsOverride", wide);
    browser.first(&panel, &code);

    // Log out and in.
    browser.tab_to("[data-testid=logout-button]");
    browser.enter();
    browser.see("login-form");
    browser.insert("#name", "root");
    browser.insert("#password", PASSWORD);
    browser.enter();
    browser.see("control-panel-header");
    // The first stop is the link that skips the navigation.
    browser.key("Tab", 9, "");
    browser.enter();
    browser.until("the skip", "document.activeElement?.id === 'main'");

    // Add a node: its command has a token.
    browser.go(&panel);
    browser.follow("/nodes");
    browser.insert("#t-org", "acme");
    browser.tab_to("[data-testid=node-token-button]");
    browser.enter();
    assert!(browser.see("node-command").contains("worker --token bnj1"));

    // Submit a task. The dialogue in which a file is chosen is the system's: only the way to it is ours.
    let module = home.path().join("hello.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    browser.follow("/tasks");
    browser.tab_to("#s-file");
    browser.choose("#s-file", &module);
    browser.insert("#s-args", "one");
    browser.tab_to("[data-testid=submit-task-button]");
    browser.enter();
    browser.see("success-notification");

    // Find why it waits, from the list.
    browser.follow("/tasks");
    browser.tab_to("[data-testid^=task-card-] a");
    browser.enter();
    browser.see("task-header");
    let page = browser.see("main-content");
    assert!(
        page.contains("Why here, why not") && page.contains("knows no node")
            || page.contains("names no node"),
        "{page}"
    );

    // Read the audit log: all of the above is there.
    browser.follow("/audit");
    let page = browser.see("main-content");
    for action in [
        "firstAdmin",
        "logOut",
        "logIn",
        "nodeTokenForm",
        "submitTaskForm",
    ] {
        assert!(page.contains(action), "{action}");
    }
}
