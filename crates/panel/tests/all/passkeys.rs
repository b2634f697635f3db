//! Passkeys: registered with the password, since they outlast the session.

use betanet_keys::{Identity, hash};
use betanet_wire::text::base64url;
use serde_json::json;

use crate::world::{Answer, PASSWORD, World, world};

/// An authenticator's answer to a registration, without attestation.
fn attestation(domain: &str) -> Vec<u8> {
    let mut data = hash(&[domain.as_bytes()]).to_vec();
    // User present and verified, with a credential; counter; model.
    data.push(0x45);
    data.extend([0, 0, 0, 1]);
    data.extend([0; 16]);
    data.extend([0, 4, 1, 2, 3, 4]);
    // An Ed25519 key.
    data.extend([0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20]);
    data.extend(Identity::from_seed(&[9; 32]).public().as_bytes());
    let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
    object.push(u8::try_from(data.len()).unwrap());
    object.extend(data);
    object
}

/// Sends a registration as the page does, with this password.
pub(crate) async fn register(
    world: &World,
    cookie: &str,
    name: &str,
    password: Option<&str>,
) -> Answer {
    let host = format!("localhost:{}", world.at.port());
    let origin = format!("http://{host}");
    let fields = [("host", host.as_str()), ("cookie", cookie)];
    let page = world.ask("GET", "/settings", &fields, "").await.body;
    let after = |mark: &str| {
        let (_, rest) = page.split_once(mark).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let client = json!({"type": "webauthn.create", "challenge": after("data-challenge=\""), "origin": &origin, "crossOrigin": false});
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("form_token", &after("name=\"form_token\" value=\""));
    form.append_pair("name", name);
    form.append_pair("client", &base64url(client.to_string().as_bytes()));
    form.append_pair("attestation", &base64url(&attestation("localhost")));
    if let Some(password) = password {
        form.append_pair("password", password);
    }
    let fields = [
        ("host", host.as_str()),
        ("origin", &origin),
        ("cookie", cookie),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let path = "/settings/passkeys";
    world.ask("POST", path, &fields, &form.finish()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_alone_makes_no_passkey() {
    let world = world().await;
    let (cookie, _) = world.admin().await;
    for password in [None, Some("another password")] {
        let refused = register(&world, &cookie, "laptop", password).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains("the present password is another one"));
    }
    let page = world
        .ask("GET", "/settings", &[("cookie", &cookie)], "")
        .await;
    assert!(page.body.contains("You have no passkeys.") && page.body.contains("Passkeys stay"));
    let made = register(&world, &cookie, "laptop", Some(PASSWORD)).await;
    assert_eq!(
        made.field("location"),
        ["/settings?done=passkey"],
        "{made:?}"
    );
    let page = world
        .ask("GET", "/settings", &[("cookie", &cookie)], "")
        .await;
    assert!(page.body.contains("data-testid=\"passkey\""));
}
