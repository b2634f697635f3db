//! Passkeys: registered by an account that is logged in, and used instead of a password.
//!
//! A passkey belongs to a domain, so there are none where the panel is reached by a number: on loopback, open it as `localhost`.

use std::net::IpAddr;

use betanet_auth::webauthn::{
    self, ATTESTATION_MAX, AUTHENTICATOR_MAX, Assertion, CLIENT_DATA_MAX, CREDENTIAL_MAX, Expected,
    Purpose, SIGNATURE_MAX, challenge_of,
};
use betanet_auth::{Error as AuthError, PasskeyFault};
use betanet_wire::text::{base64url, unbase64url};

use crate::acts::{self, LoggedIn};
use crate::cx::{Cx, Noted};
use crate::fault::Fault;
use crate::form::Fields;

/// The domain under which a browser asks; `None` if that is a number.
fn domain(cx: &Cx) -> Option<&str> {
    let host = cx.host.as_deref()?;
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let numeric = host.starts_with('[') || name.parse::<IpAddr>().is_ok();
    (!numeric && !name.is_empty()).then_some(name)
}

/// What a page needs to ask for a passkey.
pub(crate) struct Asking {
    pub(crate) challenge: String,
    pub(crate) domain: String,
}

/// Gives out a challenge; `None` where there are no passkeys.
pub(crate) fn ask(cx: &Cx, purpose: Purpose) -> Option<Asking> {
    let domain = domain(cx)?.to_owned();
    let now = cx.shared.desk.now().mono;
    let challenge = cx
        .shared
        .challenges()
        .issue(now, purpose, &mut cx.shared.rng());
    Some(Asking {
        challenge: base64url(&challenge),
        domain,
    })
}

/// A field of bytes, bounded before it is decoded.
fn bytes(fields: &Fields, name: &'static str, most: usize) -> Result<Vec<u8>, Fault> {
    let text = fields.get(name);
    if text.len() > (most * 4).div_ceil(3) {
        return Err(Fault::Field(name));
    }
    let bytes = unbase64url(text).filter(|b| !b.is_empty());
    bytes.ok_or(Fault::Field(name))
}

/// The challenge that the client data name, which was given out for this purpose and is not answered yet.
fn challenge(cx: &Cx, client: &[u8], purpose: Purpose) -> Result<[u8; 32], Fault> {
    let challenge = challenge_of(client).ok_or(AuthError::Passkey(PasskeyFault::ClientData))?;
    let now = cx.shared.desk.now().mono;
    cx.shared.challenges().check(now, &challenge, purpose)?;
    Ok(challenge)
}

/// The origin under which a browser asks. The field `Host` was compared with the names of the site.
fn origin(cx: &Cx) -> String {
    let scheme = cx
        .shared
        .origin
        .split_once("://")
        .map_or("https", |(s, _)| s);
    format!("{scheme}://{}", cx.host.as_deref().unwrap_or_default())
}

/// Registers a passkey for the caller, which outlasts its session: so its password is asked for.
pub(crate) async fn register(cx: &Cx, fields: &Fields) -> Result<(), Fault> {
    let id = cx.who()?.caller.account;
    let name = fields.get("name");
    if name.is_empty() {
        return Err(Fault::Field("name"));
    }
    let client = bytes(fields, "client", CLIENT_DATA_MAX)?;
    let attestation = bytes(fields, "attestation", ATTESTATION_MAX)?;
    let domain = domain(cx).ok_or(Fault::Missing)?;
    let purpose = Purpose::Register(id);
    let challenge = challenge(cx, &client, purpose)?;
    let known = acts::own_password(cx, fields.raw("password")).await?;
    let origin = origin(cx);
    let want = Expected {
        challenge: &challenge,
        domain,
        origins: &[&origin],
        verified: true,
    };
    let passkey = webauthn::register(cx.now_ms, name, &client, &attestation, &want);
    let passkey = passkey.map_err(AuthError::from)?;
    let now = cx.shared.desk.now().mono;
    cx.shared.challenges().end(now, &challenge, purpose)?;
    cx.change(move |core, _, tx| {
        let before = core.accounts.live(id, known.generation)?.to_bytes();
        let account = core.accounts.add_passkey(id, passkey)?;
        tx.account(account);
        let noted = Noted::on(id.to_string());
        Ok(((), noted.states(Some(&before), Some(&account.to_bytes()))))
    })
    .await
}

/// Removes a passkey of the caller, which ends its sessions and tokens.
pub(crate) async fn remove(cx: &Cx, fields: &Fields) -> Result<(), Fault> {
    let id = cx.who()?.caller.account;
    let credential = bytes(fields, "credential", CREDENTIAL_MAX)?;
    cx.change(move |core, now, tx| {
        let before = core.accounts.get(id).ok_or(AuthError::Unknown)?.to_bytes();
        let account = core.accounts.remove_passkey(id, &credential)?.clone();
        tx.account(&account);
        core.sweep(now.unix_ms, tx);
        let noted = Noted::on(id.to_string());
        Ok(((), noted.states(Some(&before), Some(&account.to_bytes()))))
    })
    .await
}

/// Logs a browser in by a passkey. It is not guessed at, so there is no delay.
pub(crate) async fn log_in(cx: &Cx, fields: &Fields) -> Result<LoggedIn, Fault> {
    let credential = bytes(fields, "credential", CREDENTIAL_MAX)?;
    let client = bytes(fields, "client", CLIENT_DATA_MAX)?;
    let authenticator = bytes(fields, "authenticator", AUTHENTICATOR_MAX)?;
    let signature = bytes(fields, "signature", SIGNATURE_MAX)?;
    let domain = domain(cx).ok_or(Fault::Missing)?;
    let challenge = challenge(cx, &client, Purpose::LogIn)?;
    let known = credential.clone();
    let found = cx.shared.desk.with(move |core, _, _| {
        let found = core.accounts.find_passkey(&known);
        found.map(|(account, passkey)| (account.clone(), passkey.clone()))
    });
    let (account, passkey) = found.await?.ok_or(AuthError::Credentials)?;
    let _ = cx.target.set(account.id.to_string());
    let origin = origin(cx);
    let want = Expected {
        challenge: &challenge,
        domain,
        origins: &[&origin],
        verified: true,
    };
    let assertion = Assertion {
        credential: &credential,
        client: &client,
        authenticator: &authenticator,
        signature: &signature,
    };
    let used = webauthn::log_in(&passkey, &assertion, &want);
    let used = used.map_err(AuthError::from)?;
    let now = cx.shared.desk.now().mono;
    cx.shared
        .challenges()
        .end(now, &challenge, Purpose::LogIn)?;
    let stored = cx.shared.desk.with(move |core, _, tx| {
        core.accounts.live(account.id, account.generation)?;
        let account = core.accounts.use_passkey(account.id, used)?.clone();
        tx.account(&account);
        Ok::<_, AuthError>(account)
    });
    acts::opened(cx, stored.await??).await
}
