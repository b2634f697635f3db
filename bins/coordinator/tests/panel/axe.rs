//! Every page of the panel by the rules of axe-core, in both themes and at four widths.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

/// Version of axe-core, which `cargo xtask ci` installs in a folder of this name.
const VERSION: &str = "4.14.1";
const WIDTHS: [u64; 4] = [320, 768, 1280, 1920];

/// The source of axe-core, as npm installed it.
fn axe() -> String {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let folder = cache
        .unwrap_or_else(home)
        .join(format!("betanet-axe-{VERSION}"));
    let file = folder.join("node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(file).unwrap_or_else(|_| {
        let at = folder.display();
        panic!("axe-core is missing; run: npm install --prefix {at} axe-core@{VERSION}")
    })
}

/// Checks the page as it stands; a line for each element that breaks a rule.
fn look(browser: &mut Browser, place: &str, found: &mut Vec<String>) {
    let script = "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.flatMap(v => \
                  v.nodes.map(n => v.id + ': ' + n.html.slice(0, 160) + ' ' + n.any.concat(n.all, n.none).map(c => c.message).join('; ').slice(0, 240))))";
    let all = browser.run(script);
    let all = all.as_array();
    let all = all.unwrap_or_else(|| panic!("{place}: axe-core did not run"));
    found.extend(all.iter().map(|line| format!("{place}: {line}")));
}

/// Checks a page in both themes and at four widths, with its parts closed and open.
fn everywhere(browser: &mut Browser, axe: &str, found: &mut Vec<String>) {
    browser.run(axe);
    let path = browser.run("location.pathname + location.search");
    let path = path.as_str().unwrap_or_default().to_owned();
    for (theme, open) in [("light", true), ("dark", false)] {
        let features = json!([{"name": "prefers-color-scheme", "value": theme}]);
        browser.call("Emulation.setEmulatedMedia", json!({"features": features}));
        let all = "document.querySelectorAll('main details').forEach(d => d.open = ";
        browser.run(&format!("{all}{open})"));
        for width in WIDTHS {
            let size =
                json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
            browser.call("Emulation.setDeviceMetricsOverride", size);
            // Colours change over a tenth of a second.
            browser.run("Promise.all(document.getAnimations().map(a => a.finished))");
            let place = format!("{path} {theme} {width}");
            look(browser, &place, found);
            if width == WIDTHS[0] {
                let menu = "document.querySelectorAll('details.menu').forEach(d => d.open = ";
                browser.run(&format!("{menu}true)"));
                look(browser, &format!("{place} menu"), found);
                browser.run(&format!("{menu}false)"));
            }
        }
    }
}

/// Links of the page, of those that a selector finds.
fn links(browser: &mut Browser, selector: &str) -> Vec<String> {
    let script = format!(
        "[...document.querySelectorAll({})].map(a => a.getAttribute('href'))",
        json!(selector)
    );
    let all = browser.run(&script);
    let all = all.as_array().cloned().unwrap_or_default();
    all.iter()
        .filter_map(|l| Some(l.as_str()?.to_owned()))
        .collect()
}

#[test]
fn no_page_breaks_a_rule_of_axe() {
    let axe = axe();
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let site = panel.trim_end_matches('/');
    let mut browser = Browser::start();
    let mut found = Vec::new();
    browser.go(&panel);
    browser.see("first-admin-form");
    everywhere(&mut browser, &axe, &mut found);
    browser.first(&panel, &code);

    // Lists with something in them: a task that waits, and a node that has joined.
    let module = home.path().join("hello.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    browser.go(&format!("{site}/tasks"));
    browser.choose("#s-file", &module);
    browser.click("submit-task-button");
    browser.see("success-notification");
    everywhere(&mut browser, &axe, &mut found);
    browser.go(&format!("{site}/nodes"));
    browser.fill("#t-org", "acme");
    browser.click("node-token-button");
    let command = browser.see("node-command");
    everywhere(&mut browser, &axe, &mut found);
    let token = command.split_whitespace().find(|w| w.starts_with("bnj1"));
    states::join(token.unwrap());

    // Every page of the navigation, and the first page below each.
    browser.go(&format!("{site}/control-panel"));
    let pages = links(&mut browser, "[data-testid=desktop-nav] a");
    assert!(pages.len() >= 5, "{pages:?}");
    let mut seen = BTreeSet::new();
    let mut todo = pages.clone();
    todo.extend(["/nodes?q=nothing", "/nowhere", "/tasks/00"].map(str::to_owned));
    while let Some(page) = todo.pop() {
        if !seen.insert(page.clone()) {
            continue;
        }
        browser.go(&format!("{site}{page}"));
        everywhere(&mut browser, &axe, &mut found);
        if pages.contains(&page) {
            let below = format!("main a[href^=\"{page}/\"]");
            todo.extend(links(&mut browser, &below).into_iter().take(1));
        }
    }
    assert!(seen.iter().any(|p| p.starts_with("/nodes/")), "{seen:?}");
    assert!(
        seen.iter()
            .any(|p| p.starts_with("/tasks/") && p.len() > 40)
    );

    browser.go(&format!("{site}/control-panel"));
    browser.click("logout-button");
    browser.see("login-form");
    browser.fill("#name", "root");
    browser.fill("#password", "not the password");
    browser.click("login-button");
    browser.see("error-notification");
    everywhere(&mut browser, &axe, &mut found);
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}
