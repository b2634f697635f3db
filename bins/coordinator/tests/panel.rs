//! The control panel in Chromium: the first administrator logs in, submits a task, cancels it, and logs out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it is surprised"
)]

#[path = "panel/axe.rs"]
mod axe;
#[path = "panel/browser.rs"]
mod browser;
#[path = "panel/keyboard.rs"]
mod keyboard;
#[path = "panel/passkeys.rs"]
mod passkeys;
#[path = "panel/states.rs"]
mod states;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use betanet_keys::Identity;
use browser::{Browser, PASSWORD};
use serde_json::{Value, json};

const COORDINATOR: &str = env!("CARGO_BIN_EXE_coordinator");
/// The coordinator's process.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(home: &Path) -> (Process, String, String) {
    let (process, facts) = start_at(home, "127.0.0.1:0");
    let text = |key: &str| facts[key].as_str().unwrap().to_owned();
    (process, text("panel"), text("panel_code"))
}

/// Starts a coordinator with its panel at an address, over the state of an earlier one if there is any.
fn start_at(home: &Path, panel: &str) -> (Process, Value) {
    let user = Identity::from_seed(&[2; 32]);
    let mut child = Command::new(COORDINATOR)
        .args(["--json", "--log", "warn", "--listen", "127.0.0.1:0"])
        .args([
            "--panel",
            panel,
            "--user",
            &format!("lab={}", user.public()),
        ])
        .arg("--state")
        .arg(home.join("state"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    (Process(child), serde_json::from_str(&line).unwrap())
}

#[test]
fn the_first_administrator_submits_a_task_in_chromium() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let mut browser = Browser::start();
    browser.first(&panel, &code);
    assert!(browser.see("system-status-card").contains("healthy"));
    assert!(browser.see("service-status-dao").contains("not installed"));
    // The event stream is open.
    let live = "document.querySelector('#ws-status')?.dataset.status === 'connected'";
    browser.until("the event stream", live);

    let module = home.path().join("hello.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    browser.open(&format!("{panel}tasks"));
    browser.see("empty-state");
    browser.choose("#s-file", &module);
    browser.click("plan-task-button");
    assert!(browser.see("plan").contains("It would wait"));
    browser.choose("#s-file", &module);
    browser.click("submit-task-button");
    browser.see("success-notification");
    assert!(browser.see("status-badge-queued").contains("queued"));
    browser.click("cancel-task-button");
    assert!(browser.see("status-badge-cancelled").contains("cancelled"));
    browser.open(&format!("{panel}tasks?state=cancelled"));
    assert!(browser.see("tab-cancelled").contains("(1)"));
    browser.open(&format!("{panel}audit"));
    assert!(browser.see("main-content").contains("cancelTaskForm"));

    browser.click("logout-button");
    browser.see("login-form");
    browser.fill("#name", "root");
    browser.fill("#password", "not the password");
    browser.click("login-button");
    assert!(browser.see("error-notification").contains("wrong"));
    browser.fill("#name", "root");
    browser.fill("#password", PASSWORD);
    browser.click("login-button");
    browser.see("control-panel-header");
    // Four widths, without a bar to scroll the page sideways.
    for width in [320, 768, 1280, 1920] {
        let params =
            json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", params);
        let wide = browser.run("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= width, "{wide} at {width}");
    }
}
