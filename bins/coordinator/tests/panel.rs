//! The control panel in Chromium: the first administrator logs in, submits a task, cancels it, and logs out.
//!
//! The cases that a browser shows, and the test of each:
//!
//! | | case | test |
//! |---|---|---|
//! | 1 | the first administrator is made, and sees the control panel | `the_first_administrator_submits_a_task_in_chromium` |
//! | 2 | the status of services, also of those that are not installed | the same |
//! | 3 | the stream of events is connected | the same |
//! | 4 | a plan before a task is submitted | the same |
//! | 5 | a task is submitted, and a notice says so | the same |
//! | 6 | a task is cancelled | the same |
//! | 7 | logout | the same |
//! | 8 | login with a wrong password is refused | the same |
//! | 9 | login | the same |
//! | 10 | a viewport of 320 px | the same; `axe::no_page_breaks_a_rule_of_axe` |
//! | 11 | a viewport of 768 px | the same two |
//! | 12 | a viewport of 1 280 px | the same two |
//! | 13 | a viewport of 1 920 px | the same two |
//! | 14 | amounts in units that people read | `states::a_panel_whose_coordinator_is_gone_says_so_and_goes_on_by_itself` |
//! | 15 | details of a node | the same |
//! | 16 | missing data is said, and is no zero | the same |
//! | 17 | the coordinator is gone: a banner, and the last state stays | the same |
//! | 18 | the page connects again by itself, and shows what it missed | the same |
//! | 19 | a page that fails says why | the same |
//! | 20 | it is tried again | the same |
//! | 21 | live updates of a list | `live::a_list_follows_what_happens_and_its_tabs_choose` |
//! | 22 | a page that is paused stands still | the same |
//! | 23 | tabs by state, with their counts | the same |
//! | 24 | roles see and do what is theirs | `states::roles_sessions_and_forged_tokens_are_kept_apart` |
//! | 25 | sessions end, and the login leads back | the same |
//! | 26 | tampered form tokens, access tokens and cookies | the same |
//! | 27 | the limit of logins | the same |
//!
//! Beyond these, `keyboard` does five jobs without a mouse, `passkeys` logs in with an authenticator, and `plain` does without script.
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
#[path = "panel/live.rs"]
mod live;
#[path = "panel/passkeys.rs"]
mod passkeys;
#[path = "panel/plain.rs"]
mod plain;
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
