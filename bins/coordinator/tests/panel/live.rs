//! What changes while a page is open: a list follows without a reload, stands still while it is paused, and goes on.

use super::states::ask;
use super::*;

#[test]
fn a_list_follows_what_happens_and_its_tabs_choose() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let mut browser = Browser::start();
    browser.first(&panel, &code);
    let login = json!({"name": "root", "password": PASSWORD});
    let (_, answer) = ask(&panel, "POST /api/v1/login", "", &login);
    let token = answer["access_token"].as_str().unwrap();
    // A module that is stored already.
    let module = home.path().join("hello.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    browser.go(&format!("{panel}tasks"));
    browser.choose("#s-file", &module);
    browser.click("submit-task-button");
    browser.see("success-notification");
    let digest = "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";
    let task = json!({"ns": "lab", "module": digest});
    let submit = || {
        let (status, made) = ask(&panel, "POST /api/v1/tasks", token, &task);
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let card = |id: &str| {
        format!(
            "window.same && document.querySelector('[data-testid=\"task-card-{id}\"]') !== null"
        )
    };

    // A new task comes by itself, and the tabs count it.
    browser.go(&format!("{panel}tasks"));
    browser.status("connected");
    browser.run("window.same = true");
    let second = submit();
    browser.until("the second task", &card(&second));
    assert!(browser.see("tab-all").contains("(2)"));
    let position = "Number(document.querySelector('#stamp').dataset.position)";
    let before = browser.run(position).as_u64().unwrap();

    // Paused, the page stands still; then it has what it missed.
    browser.run("document.querySelector('#pause').click()");
    browser.status("paused");
    let third = submit();
    // The same page, loaded anew three times, shows the task, so this one had the time to.
    let loaded =
        format!("fetch('/tasks').then(r => r.text()).then(t => t.includes('task-card-{third}'))");
    for _ in 0..3 {
        browser.until("the third task elsewhere", &loaded);
    }
    assert_eq!(browser.run(position).as_u64(), Some(before));
    browser.run("document.querySelector('#pause').click()");
    browser.status("connected");
    browser.until("the third task", &card(&third));

    // A tab shows the tasks of a state, and none of the others.
    let cancel = format!("POST /api/v1/tasks/{third}/cancel");
    let (status, answer) = ask(&panel, &cancel, token, &Value::Null);
    assert_eq!(status, 204, "{answer}");
    let told = "window.same && document.querySelector('[data-testid=tab-cancelled]').textContent.includes('(1)')";
    browser.until("the count of cancelled tasks", told);
    browser.run("window.old = true");
    browser.click("tab-cancelled");
    browser.until(
        "the tab",
        "!window.old && document.readyState === 'complete'",
    );
    let cards = "[...document.querySelectorAll('[data-testid^=task-card-]')].map(e => e.dataset.testid).join()";
    assert_eq!(browser.run(cards), json!(format!("task-card-{third}")));
    let here = "document.querySelector('[data-testid=tab-cancelled]').getAttribute('aria-current')";
    assert_eq!(browser.run(here), json!("page"));
}
