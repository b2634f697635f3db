//! States of the panel in Chromium: a coordinator that is gone and comes back, missing data, roles, sessions that end, forged tokens,
//! and the limit of logins.

use std::io::Write as _;
use std::net::TcpStream;

use betanet_fog::bodies::TokenText;
use betanet_fog::{Amounts, Kind, Labels, Level, Node as FogNode, Resources, Signed, Text, Token};
use betanet_fog_client::{Direct, FogClient};
use betanet_keys::{Peer, PublicKey};
use betanet_runtime::{Clock, Node, SessionConfig};

use super::*;

/// Lets a node join that does not beat yet.
pub(crate) fn join(token: &str) {
    let me = Identity::from_seed(&[9; 32]);
    let amounts = Amounts {
        cpu: 1000,
        memory: 1 << 30,
        ..Amounts::default()
    };
    let node = FogNode {
        cap: Resources::capacity(amounts).unwrap(),
        key: *me.public().as_bytes(),
        org: "acme".parse().unwrap(),
        seq: Clock::start().now().unix_ms,
        kind: Kind::Compute,
        zone: "test".parse().unwrap(),
        level: Level::Public,
        model: "".parse().unwrap(),
        price: 1,
        engine: "none".parse().unwrap(),
        labels: Labels::default(),
        region: "test".parse().unwrap(),
    };
    let node = Signed::sign(node, &me).unwrap();
    let read = Signed::<Token>::from_text(token).unwrap();
    let peer = Peer {
        key: PublicKey::from_bytes(&read.key).unwrap(),
        addrs: read.addrs.iter().map(|a| a.as_str().to_owned()).collect(),
        pin: read.pin,
    };
    let token: Text = token.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dialling = Node::new(Some(me.clone()), SessionConfig::default()).unwrap();
        let direct = Direct::new(std::sync::Arc::new(dialling), vec![peer]);
        let client = FogClient::new(me, direct);
        client.join(&node, &TokenText::from(token)).await.unwrap();
        client.close().await;
    });
}

/// Asks the panel's API; the answer's status and JSON.
pub(crate) fn ask(panel: &str, head: &str, token: &str, body: &Value) -> (u16, Value) {
    let authority = panel.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut tcp = TcpStream::connect(authority).unwrap();
    let bearer = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let head = format!(
        "{head} HTTP/1.1\r\nhost: {authority}\r\n{bearer}content-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut tcp, &mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

impl Browser {
    fn log_in(&mut self, name: &str, password: &str) {
        self.see("login-form");
        self.fill("#name", name);
        self.fill("#password", password);
        self.click("login-button");
    }

    pub(crate) fn status(&mut self, word: &str) {
        let script = format!(
            "document.querySelector('#ws-status')?.dataset.status === {}",
            json!(word)
        );
        self.until(word, &script);
    }
}

#[test]
fn a_panel_whose_coordinator_is_gone_says_so_and_goes_on_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let (coordinator, panel, code) = start(home.path());
    let mut browser = Browser::start();
    browser.first(&panel, &code);
    // Missing data is said, and is no zero.
    assert!(
        browser
            .see("service-status-edge")
            .contains("no edge device has joined")
    );
    browser.go(&format!("{panel}nodes"));
    assert!(browser.see("avg-load-card").contains("no active node"));
    browser.see("empty-state");
    browser.status("connected");
    browser.run("window.same = true");
    drop(coordinator);
    browser.status("disconnected");
    let banner = "!document.querySelector('#gone').hidden && document.querySelector('#announce').textContent";
    let said = browser.until("the banner", banner);
    assert!(said.as_str().unwrap().contains("does not answer"));
    // Its last state is still there.
    browser.see("nodes-header");
    let at = panel.strip_prefix("http://").unwrap().trim_end_matches('/');
    let (_again, facts) = start_at(home.path(), at);
    assert!(facts["panel_code"].is_null(), "the door is closed");
    browser.status("connected");
    let hidden = "document.querySelector('#gone').hidden && window.same";
    browser.until("the end of the banner", hidden);
    // What happened meanwhile and since is shown, without a reload.
    let login = json!({"name": "root", "password": PASSWORD});
    let (status, answer) = ask(&panel, "POST /api/v1/login", "", &login);
    assert_eq!(status, 200, "{answer}");
    let token = answer["access_token"].as_str().unwrap();
    let order = json!({"kind": "compute", "org": "acme"});
    let (status, made) = ask(&panel, "POST /api/v1/node-tokens", token, &order);
    assert_eq!(status, 201, "{made}");
    join(made["token"].as_str().unwrap());
    let card = "window.same && document.querySelector('[data-testid^=node-card-]') !== null";
    browser.until("the node", card);
    // Its details, in units that people read.
    browser.run("document.querySelector('[data-testid^=node-card-] a').click()");
    browser.see("node-header");
    let page = browser.see("main-content");
    for text in ["Last beat", "acme", "1 GiB", "joining"] {
        assert!(page.contains(text), "{text}: {page}");
    }

    // A page that fails offers to try again, and does.
    browser.go(&format!("{panel}tasks/{}", "0".repeat(64)));
    browser.see("error-card");
    let again = browser.run("document.querySelector('[data-testid=retry-button]').pathname");
    assert!(again.as_str().unwrap().starts_with("/tasks/"));
    browser.run("window.old = true");
    browser.click("retry-button");
    browser.until("the page again", "!window.old");
    browser.see("error-card");
}

#[test]
fn roles_sessions_and_forged_tokens_are_kept_apart() {
    let home = tempfile::tempdir().unwrap();
    let (_coordinator, panel, code) = start(home.path());
    let mut browser = Browser::start();
    browser.first(&panel, &code);
    let login = json!({"name": "root", "password": PASSWORD});
    let (_, answer) = ask(&panel, "POST /api/v1/login", "", &login);
    let token = answer["access_token"].as_str().unwrap();
    let viewer = json!({"name": "viewer", "password": "pT4&mW8*qL1y", "grants": "viewer"});
    let (status, made) = ask(&panel, "POST /api/v1/accounts", token, &viewer);
    assert_eq!(status, 201, "{made}");

    // A form token that was changed changes nothing.
    browser.go(&format!("{panel}nodes"));
    browser.fill("#t-org", "acme");
    browser.run("document.querySelector('[data-testid=node-token-form] [name=form_token]').value = 'forged'");
    browser.click("node-token-button");
    browser.see("error-notification");
    let none = browser.run("document.querySelector('[data-testid=node-command]') === null");
    assert_eq!(none, json!(true));

    // An access token with one other letter is refused.
    let (first, rest) = token.rsplit_once('.').unwrap();
    let turned = if rest.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{first}.{turned}{}", &rest[1..]);
    let (status, _) = ask(&panel, "GET /api/v1/nodes", &forged, &Value::Null);
    assert_eq!(status, 401);

    // Sessions that are ended elsewhere end here: the page leads to the login, and back to where it was.
    browser.go(&format!("{panel}nodes?state=active"));
    browser.status("connected");
    let (status, _) = ask(&panel, "DELETE /api/v1/me/sessions", token, &Value::Null);
    assert_eq!(status, 204);
    browser.go(&format!("{panel}nodes?state=active"));
    browser.log_in("viewer", "pT4&mW8*qL1y");
    browser.see("nodes-header");
    let at = browser.run("location.pathname + location.search");
    assert_eq!(at, json!("/nodes?state=active"));

    // A viewer looks, and is offered nothing else.
    let shown = "document.querySelector('[data-testid=node-token-form]') === null \
                 && document.querySelector('[data-testid=desktop-nav] a[href=\"/audit\"]') === null";
    assert_eq!(browser.run(shown), json!(true));
    browser.go(&format!("{panel}audit"));
    browser.see("error-notification");
    browser.go(&format!("{panel}tasks"));
    let none = browser.run("document.querySelector('[data-testid=submit-task-form]') === null");
    assert_eq!(none, json!(true));

    // A cookie with one other letter is no session.
    let cookies = browser.call("Network.getCookies", json!({"urls": [panel]}));
    let all = cookies["cookies"].as_array().unwrap();
    let session = all
        .iter()
        .find(|c| !c["name"].as_str().unwrap().contains("device"));
    let mut cookie = session.unwrap().clone();
    let value = cookie["value"].as_str().unwrap();
    let turned = if value.starts_with('A') { 'B' } else { 'A' };
    cookie["value"] = json!(format!("{turned}{}", &value[1..]));
    let forged = json!({"name": cookie["name"], "value": cookie["value"], "url": panel,
                        "secure": true, "httpOnly": true, "sameSite": "Strict", "path": "/"});
    browser.call("Network.setCookie", forged);
    browser.go(&panel);
    browser.see("login-form");

    // Guesses at a password have to wait, and are told so.
    let mut told = String::new();
    for _ in 0..20 {
        browser.leave("the answer to a guess", |browser| {
            browser.log_in("viewer", "not the password");
        });
        told = browser.see("error-notification");
        if told.contains("wait") || told.contains("later") || told.contains("again in") {
            break;
        }
        browser.go(&format!("{panel}login"));
    }
    assert!(!told.contains("wrong"), "{told}");
}
