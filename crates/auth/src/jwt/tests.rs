use std::string::ToString as _;

use betanet_keys::PublicKey;
use betanet_machine::Seed;

use super::*;
use crate::Permission;

/// Noon of a day.
const NOON: u64 = 20_000 * DAY + DAY / 2;
const A: AccountId = AccountId([1; 16]);

fn ring() -> Keyring {
    let parties = Parties::new("https://panel.example", "betanet-api").unwrap();
    let mut ring = Keyring::new(ServerKey::new([3; 32]), parties);
    ring.turn(NOON);
    ring
}

fn rng() -> Rng {
    Rng::new(&Seed::from_number(9))
}

fn issue(ring: &mut Keyring, now: u64) -> String {
    let scopes = Permissions::of(&[Permission::Look, Permission::Submit]);
    let token = ring.issue(now * 1000, A, 4, scopes, &mut rng()).unwrap();
    token.expose().to_string()
}

fn at(ring: &mut Keyring, now: u64, token: &str) -> Result<Claims, Error> {
    ring.check(now * 1000, token)
}

#[test]
fn a_token_counts_for_ten_minutes() {
    let mut ring = ring();
    let token = issue(&mut ring, NOON);
    assert!(token.len() < JWT_MAX);
    let claims = at(&mut ring, NOON, &token).unwrap();
    assert_eq!((claims.account, claims.generation), (A, 4));
    assert_eq!(claims.scopes.to_text(), "look submit");
    assert_eq!((claims.issued, claims.expires()), (NOON, NOON + 600));
    assert!(at(&mut ring, NOON + 599, &token).is_ok());
    assert_eq!(at(&mut ring, NOON + 600, &token), Err(Error::Expired));
    assert!(at(&mut ring, NOON - SKEW, &token).is_ok());
    assert_eq!(
        at(&mut ring, NOON - SKEW - 1, &token),
        Err(Error::Credentials)
    );
    // Another server with the key agrees, and one with another key does not.
    let mut same = Keyring::new(ServerKey::new([3; 32]), ring.parties.clone());
    assert!(at(&mut same, NOON, &token).is_ok());
    let mut other = Keyring::new(ServerKey::new([4; 32]), ring.parties.clone());
    assert_eq!(at(&mut other, NOON, &token), Err(Error::Credentials));
}

#[test]
fn keys_turn_at_midnight_and_overlap() {
    let mut ring = ring();
    let midnight = 20_001 * DAY;
    let before = issue(&mut ring, midnight - 1);
    let after = issue(&mut ring, midnight);
    assert_ne!(before.split('.').next(), after.split('.').next());
    assert!(at(&mut ring, midnight + 598, &before).is_ok());
    assert_eq!(at(&mut ring, midnight + 599, &before), Err(Error::Expired));
    // A coordinator whose clock is a little behind.
    assert!(at(&mut ring, midnight - 3, &after).is_ok());
    // The set holds a key a day before it signs, and a day after.
    let kid = |token: &str| {
        let header = unbase64url(token.split('.').next().unwrap()).unwrap();
        let header = String::from_utf8(header).unwrap();
        Object::read(header.as_bytes())
            .unwrap()
            .text("kid")
            .unwrap()
            .to_string()
    };
    let has =
        |ring: &mut Keyring, now: u64, token: &str| ring.jwks(now * 1000).contains(&kid(token));
    assert!(has(&mut ring, midnight - DAY, &after));
    assert!(has(&mut ring, midnight + DAY - 1, &before));
    assert!(!has(&mut ring, midnight + DAY, &before));
    assert!(!has(&mut ring, midnight - DAY - 1, &after));
}

#[test]
fn the_published_set_verifies_tokens() {
    let mut ring = ring();
    let token = issue(&mut ring, NOON);
    let jwks = ring.jwks(NOON * 1000);
    let keys = jwks.split("{\"kty\"").skip(1).map(|k| {
        let x = k
            .split("\"x\":\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let key: [u8; 32] = unbase64url(x).unwrap().try_into().unwrap();
        PublicKey::from_bytes(&key).unwrap()
    });
    let (signed, sig) = token.rsplit_once('.').unwrap();
    let sig: [u8; 64] = unbase64url(sig).unwrap().try_into().unwrap();
    let good = keys.filter(|k| k.verify_message(signed.as_bytes(), &sig).is_ok());
    assert_eq!(good.count(), 1);
    assert_eq!(jwks.matches("\"kty\":\"OKP\"").count(), 3);
    let secret = betanet_wire::text::hex(&*ring.keys[0].identity.seed());
    assert!(!jwks.contains(&secret) && !jwks.contains("\"d\""));
}

#[test]
fn parties_need_no_escapes() {
    for bad in ["", "a b", "a\"", "a\\", "é", "a\n", &"x".repeat(129)] {
        assert_eq!(Parties::new(bad, "b"), None, "{bad}");
        assert_eq!(Parties::new("b", bad), None, "{bad}");
    }
}

/// Every token here is refused. Those with a valid signature were signed with the server's own key.
#[test]
fn hostile_tokens_are_refused() {
    let mut ring = ring();
    let good = issue(&mut ring, NOON);
    assert!(at(&mut ring, NOON, &good).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, sig] = parts[..] else {
        panic!()
    };
    let text = String::from_utf8(unbase64url(payload).unwrap()).unwrap();
    let b64 = |t: &str| base64url(t.as_bytes());
    let kid = ring.keys[1].kid.clone();
    let today = &Key::new(&ring.server, NOON / DAY);
    let signed = |t: &str| sign(today, t.as_bytes()).expose().to_string();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        signed(&text.replace(from, to))
    };
    let headed = |h: &str| {
        let signed = format!("{}.{payload}", b64(h));
        let sig = today.identity.sign_message(signed.as_bytes());
        format!("{signed}.{}", base64url(&sig))
    };
    let exp = format!("\"exp\":{}", NOON + 600);
    let iat = format!("\"iat\":{NOON}");
    let nbf = format!("\"nbf\":{NOON}");
    let jti = {
        let start = text.find("\"jti\":\"").unwrap();
        text[start..start + 7 + 22 + 1].to_string()
    };
    let public = base64url(today.identity.public().as_bytes());
    let key = today.identity.public().as_bytes();
    let hmac = |k: &[u8]| {
        let h = b64(&format!(
            r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#
        ));
        let signed = format!("{h}.{payload}");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, k);
        let tag = ring::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", base64url(tag.as_ref()))
    };
    let mut flipped = unbase64url(sig).unwrap();
    flipped[10] ^= 1;
    let mut high = unbase64url(sig).unwrap();
    high[63] |= 0xe0;
    let stranger = Identity::from_seed(&[8; 32]);
    let theirs = stranger.sign_message(format!("{header}.{payload}").as_bytes());
    let digest = today
        .identity
        .sign("", &[header.as_bytes(), b".", payload.as_bytes()]);
    let yesterday = sign(&ring.keys[0], text.as_bytes()).expose().to_string();
    let tomorrow = sign(&ring.keys[2], text.as_bytes()).expose().to_string();
    let old = Key::new(&ring.server, 19_990);
    let old = sign(&old, text.as_bytes()).expose().to_string();
    let hostile: Vec<(&str, String)> = [
        ("empty", String::new()),
        ("no dots", "x".repeat(100)),
        ("dots only", "..".to_string()),
        ("two parts", format!("{header}.{payload}")),
        ("no signature", format!("{header}.{payload}.")),
        ("four parts", format!("{good}.{sig}")),
        ("five parts, as JWE has", format!("{header}.{payload}.{sig}.{sig}.{sig}")),
        ("a space before", format!(" {good}")),
        ("a line after", format!("{good}\n")),
        ("padding", format!("{good}=")),
        ("too long", format!("{good}{}", "A".repeat(JWT_MAX))),
        ("alg none", headed(r#"{"alg":"none","typ":"at+jwt"}"#)),
        ("alg none, unsigned", format!("{}.{payload}.", b64(r#"{"alg":"none"}"#))),
        ("alg NONE", headed(&format!(r#"{{"alg":"NONE","typ":"at+jwt","kid":"{kid}"}}"#))),
        ("alg HS256 with the public key", hmac(key)),
        ("alg HS256 with the public key's text", hmac(public.as_bytes())),
        ("alg HS256 with an empty key", hmac(b"")),
        ("alg ES256", headed(&format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#))),
        ("alg Ed25519", headed(&format!(r#"{{"alg":"Ed25519","typ":"at+jwt","kid":"{kid}"}}"#))),
        ("no kid", headed(r#"{"alg":"EdDSA","typ":"at+jwt"}"#)),
        ("another kid", headed(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"AAAAAAAAAAAAAAAA"}"#)),
        ("a kid that is a path", headed(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../dev/null"}"#)),
        ("members in another order", headed(&format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}"}}"#))),
        ("a space in the header", headed(&format!(r#"{{"alg":"EdDSA", "typ":"at+jwt","kid":"{kid}"}}"#))),
        ("a key in the header", headed(&format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{public}"}}}}"#))),
        ("a URL in the header", headed(&format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}","jku":"https://evil.example"}}"#))),
        ("a critical extension", headed(&format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}","crit":["b64"],"b64":false}}"#))),
        ("another type", headed(&format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#))),
        ("a changed signature", format!("{header}.{payload}.{}", base64url(&flipped))),
        ("a signature with a high S", format!("{header}.{payload}.{}", base64url(&high))),
        ("a signature of zeros", format!("{header}.{payload}.{}", base64url(&[0; 64]))),
        ("a signature of the identity", format!("{header}.{payload}.{}", base64url(&{
            let mut s = [0; 64];
            s[0] = 1;
            s
        }))),
        ("a short signature", format!("{header}.{payload}.{}", base64url(&[1; 63]))),
        ("a stranger's signature", format!("{header}.{payload}.{}", base64url(&theirs))),
        ("a signature of a digest", format!("{header}.{payload}.{}", base64url(&digest))),
        ("a signature in hex", format!("{header}.{payload}.{}", betanet_wire::text::hex(&unbase64url(sig).unwrap()))),
        ("another payload", format!("{header}.{}.{sig}", b64(&text.replace("look submit", "manage")))),
        ("yesterday's key", yesterday),
        ("tomorrow's key", tomorrow),
        ("a forgotten key", old),
        ("exp as text", with(&exp, &format!("\"exp\":\"{}\"", NOON + 600))),
        ("exp as a fraction", with(&exp, &format!("\"exp\":{}.0", NOON + 600))),
        ("exp with an exponent", with(&exp, "\"exp\":9e99")),
        ("exp negative", with(&exp, "\"exp\":-1")),
        ("exp null", with(&exp, "\"exp\":null")),
        ("exp missing", with(&format!("{exp},"), "")),
        ("exp far away", with(&exp, "\"exp\":18446744073709551615")),
        ("exp a second longer", with(&exp, &format!("\"exp\":{}", NOON + 601))),
        ("exp twice", with(&exp, &format!("{exp},{exp}"))),
        ("exp twice, escaped", with(&exp, &format!("{exp},\"\\u0065xp\":{}", NOON + 600))),
        ("nbf missing", with(&format!("{nbf},"), "")),
        ("nbf later", with(&nbf, &format!("\"nbf\":{}", NOON + 1))),
        ("iat in the future", signed(&text.replace(&NOON.to_string(), &(NOON + 60).to_string())
            .replace(&(NOON + 600).to_string(), &(NOON + 660).to_string()))),
        ("iat at the end of time", with(&iat, "\"iat\":18446744073709551615")),
        ("iat missing", with(&format!("{iat},"), "")),
        ("jti missing", with(&format!("{jti},"), "")),
        ("jti short", with(&jti, "\"jti\":\"AAAA\"")),
        ("another issuer", with("https://panel.example", "https://evil.example")),
        ("another audience", with("betanet-api", "betanet-bpi")),
        ("audience as a list", with("\"betanet-api\"", "[\"betanet-api\"]")),
        ("audience missing", with("\"aud\":\"betanet-api\",", "")),
        ("sub missing", with(&format!("\"sub\":\"{A}\","), "")),
        ("sub of another form", with(&A.to_string(), "admin")),
        ("sub with a spare bit", with(&A.to_string(), &format!("{}R", &A.to_string()[..21]))),
        ("an unknown scope", with("look submit", "look root")),
        ("scopes turned", with("look submit", "submit look")),
        ("a scope twice", with("look submit", "look look")),
        ("scope missing", with("\"scope\":\"look submit\",", "")),
        ("gen missing", with(",\"gen\":4", "")),
        ("gen as text", with("\"gen\":4", "\"gen\":\"4\"")),
        ("a claim more", with("\"gen\":4", "\"gen\":4,\"admin\":true")),
        ("a space", with("\"gen\":4", "\"gen\": 4")),
        ("nested deeply", signed(&format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500)))),
        ("not an object", signed("[]")),
        ("an empty object", signed("{}")),
        ("nothing", signed("")),
        ("a zero byte after", signed(&format!("{text}\0"))),
        ("a byte order mark", signed(&format!("\u{feff}{text}"))),
    ]
    .into();
    assert!(hostile.len() >= 40, "{}", hostile.len());
    for (name, token) in &hostile {
        let verdict = at(&mut ring, NOON, token);
        assert_eq!(verdict, Err(Error::Credentials), "{name}");
    }
    // The helper itself makes good tokens, so it is the changes that were refused.
    assert!(at(&mut ring, NOON, &signed(&text)).is_ok());
    assert!(
        at(
            &mut ring,
            NOON,
            &headed(&format!(
                r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#
            ))
        )
        .is_ok()
    );
}

proptest::proptest! {
    #[test]
    fn a_changed_token_is_refused(place in proptest::prelude::any::<proptest::sample::Index>(), letter in 0_usize..64) {
        let mut ring = ring();
        let good = issue(&mut ring, NOON);
        let at = place.index(good.len());
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut bad = good.clone().into_bytes();
        bad[at] = alphabet[letter];
        let bad = String::from_utf8(bad).unwrap();
        let verdict = ring.check(NOON * 1000, &bad);
        proptest::prop_assert_eq!(verdict.is_ok(), bad == good);
    }
}
