//! Chromium, driven by its debugging protocol.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Password of the first administrator.
pub(crate) const PASSWORD: &str = "xK9!rQ2#vB7z";

/// Looks at a condition, each 50 ms apart.
const LOOKS: u32 = 400;

/// Chromium, over the pipe of its debugging protocol: messages of JSON that end with a zero byte.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last: u64,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let found = Command::new("chromium").arg("--version").output();
        assert!(
            found.is_ok_and(|o| o.status.success()),
            "this test drives Chromium: apt-get install -y chromium"
        );
        let profile = tempfile::tempdir().unwrap();
        // The browser reads commands from descriptor 3 and writes to 4.
        let script = format!(
            "exec chromium --headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe \
             --user-data-dir={} about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1",
            profile.path().display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut browser = Self {
            child,
            to,
            from: BufReader::new(from),
            last: 0,
            session: String::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let id = target["targetId"].clone();
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": id, "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        browser.call("Page.enable", json!({}));
        browser
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut ask = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            ask["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{ask}\0").as_bytes()).unwrap();
        self.to.flush().unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "Chromium has ended");
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == json!(self.last) {
                // A page that is left takes its script with it.
                let said = answer["error"]["message"].as_str().unwrap_or_default();
                if method == "Runtime.evaluate" && said.contains("navigated") {
                    return Value::Null;
                }
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    pub(crate) fn run(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        self.call("Runtime.evaluate", params)["result"]["value"].clone()
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// Waits until a script returns something that counts as true, and returns it.
    pub(crate) fn until(&mut self, what: &str, script: &str) -> Value {
        for _ in 0..LOOKS {
            let value = self.run(script);
            if !matches!(value, Value::Null | Value::Bool(false)) && value != json!("") {
                return value;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let page = self.run("document.documentElement.outerHTML");
        panic!("{what} did not come; the page is {page}");
    }

    /// Waits for an element with a test ID, and returns its text.
    pub(crate) fn see(&mut self, id: &str) -> String {
        let script = format!("document.querySelector('[data-testid=\"{id}\"]')?.textContent");
        let text = self.until(id, &script);
        text.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn fill(&mut self, selector: &str, value: &str) {
        let (selector, value) = (json!(selector), json!(value));
        self.run(&format!(
            "document.querySelector({selector}).value = {value}"
        ));
    }

    pub(crate) fn click(&mut self, id: &str) {
        self.see(id);
        self.run(&format!(
            "document.querySelector('[data-testid=\"{id}\"]').click()"
        ));
    }

    /// Makes the first administrator, which is logged in then.
    pub(crate) fn first(&mut self, panel: &str, code: &str) {
        self.open(panel);
        self.see("first-admin-form");
        self.fill("#code", code);
        self.fill("#first-name", "root");
        self.fill("#first-password", PASSWORD);
        self.click("first-admin-button");
        self.see("control-panel-header");
    }

    /// Opens a page, and waits until it is there.
    pub(crate) fn go(&mut self, url: &str) {
        self.leave(url, |browser| browser.open(url));
    }

    /// Does something that leads to another page, and waits until that is there.
    pub(crate) fn leave(&mut self, what: &str, how: impl FnOnce(&mut Self)) {
        self.run("window.old = true");
        how(self);
        let there = "!window.old && document.readyState === 'complete'";
        self.until(what, there);
    }

    pub(crate) fn choose(&mut self, selector: &str, file: &Path) {
        let root = self.call("DOM.getDocument", json!({}))["root"]["nodeId"].clone();
        let found = self.call(
            "DOM.querySelector",
            json!({"nodeId": root, "selector": selector}),
        );
        let params = json!({"nodeId": found["nodeId"], "files": [file.display().to_string()]});
        self.call("DOM.setFileInputFiles", params);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
