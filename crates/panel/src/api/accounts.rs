//! Logins of programs, the own account, and the accounts.

use betanet_auth::jwt::LIFE;
use betanet_auth::token::ApiToken;
use betanet_auth::{Account, Permission, Permissions};
use serde_json::{Value, json};

use crate::acts::{self, TOKEN_DAYS, Tokens};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list::listed;
use crate::record;
use crate::reply::{self, Done};

fn scopes(text: &str) -> Result<Permissions, Fault> {
    let words = text.split_whitespace().map(Permission::from_word);
    let words: Option<Vec<Permission>> = words.collect();
    Ok(Permissions::of(&words.ok_or(Fault::Field("scope"))?))
}

/// An answer of OAuth 2.0 (RFC 6749, section 5.1).
fn given(tokens: &Tokens) -> Done {
    let body = json!({
        "access_token": tokens.access.expose(),
        "token_type": "Bearer",
        "expires_in": LIFE,
        "refresh_token": tokens.refresh.expose(),
        "scope": tokens.scopes.to_text(),
    });
    Done::audited(reply::json(200, &body))
}

/// `POST /api/v1/login`
pub(crate) async fn log_in(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["name", "password", "scope"])?;
    let scopes = match fields.get("scope") {
        "" => Permissions::ALL,
        text => scopes(text)?,
    };
    let (name, password) = (fields.get("name"), fields.raw("password"));
    Ok(given(&acts::api_log_in(&cx, name, password, scopes).await?))
}

/// `POST /api/v1/refresh`
pub(crate) async fn refresh(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["refresh_token"])?;
    Ok(given(
        &acts::refresh(&cx, fields.get("refresh_token")).await?,
    ))
}

/// `GET /.well-known/jwks.json`
pub(crate) async fn key_set(cx: Cx) -> Result<Done, Fault> {
    let keys = cx
        .shared
        .desk
        .with(|core, now, _| core.keyring.jwks(now.unix_ms))
        .await?;
    let mut response = reply::whole(200, "application/jwk-set+json", keys);
    reply::set(&mut response, "cache-control", "public, max-age=3600");
    Ok(response.into())
}

/// `GET /api/v1/me`
pub(crate) async fn me(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let who = cx.who()?;
    let id = who.caller.account;
    let account = cx
        .shared
        .desk
        .with(move |core, _, _| core.accounts.get(id).cloned())
        .await?;
    let mut body = record::account(&account.ok_or(Fault::Missing)?);
    body["scope"] = json!(who.caller.scopes.to_text());
    Ok(reply::json(200, &body).into())
}

/// `DELETE /api/v1/me/sessions`
pub(crate) async fn end_sessions(cx: Cx) -> Result<Done, Fault> {
    acts::end_sessions(&cx).await?;
    Ok(Done::audited(reply::empty(204)))
}

fn as_of(cx: &Cx) -> (u64, u64) {
    (cx.shared.local.position(), cx.now_ms)
}

/// `GET /api/v1/me/tokens`
pub(crate) async fn tokens(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let id = cx.who()?.caller.account;
    let own = cx.shared.desk.with(move |core, _, _| {
        let own: Vec<ApiToken> = core.tokens.of(id).cloned().collect();
        own
    });
    let items: Vec<Value> = own.await?.iter().map(record::token).collect();
    Ok(listed(as_of(&cx), items).into())
}

/// `POST /api/v1/me/tokens`
pub(crate) async fn make_token(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["name", "scope", "days"])?;
    let days = fields.number("days", TOKEN_DAYS)?;
    if fields.get("scope").is_empty() {
        return Err(Fault::Field("scope"));
    }
    let scopes = scopes(fields.get("scope"))?;
    let (secret, id) = acts::make_token(&cx, fields.get("name"), scopes, days).await?;
    let body = json!({"id": id.to_string(), "token": secret.expose()});
    Ok(Done::audited(reply::json(201, &body)))
}

/// `DELETE /api/v1/me/tokens/{id}`
pub(crate) async fn end_token(cx: Cx) -> Result<Done, Fault> {
    acts::end_token(&cx).await?;
    Ok(Done::audited(reply::empty(204)))
}

/// `GET /api/v1/accounts`
pub(crate) async fn list(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let all = cx.shared.desk.with(|core, _, _| {
        let all: Vec<Account> = core.accounts.iter().cloned().collect();
        all
    });
    let items: Vec<Value> = all.await?.iter().map(record::account).collect();
    Ok(listed(as_of(&cx), items).into())
}

/// `POST /api/v1/accounts`
pub(crate) async fn make(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["name", "password", "grants"])?;
    let (name, password) = (fields.get("name"), fields.raw("password"));
    let account = acts::make_account(&cx, name, password, fields.get("grants")).await?;
    Ok(Done::audited(reply::json(201, &record::account(&account))))
}

/// `PATCH /api/v1/accounts/{id}`
pub(crate) async fn patch(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["grants", "disabled"])?;
    let grants = fields.has("grants").then(|| fields.get("grants"));
    let disabled = match fields.get("disabled") {
        "" if grants.is_none() => return Err(Fault::Field("grants")),
        "" => None,
        "true" => Some(true),
        "false" => Some(false),
        _ => return Err(Fault::Field("disabled")),
    };
    let account = acts::change_account(&cx, grants, disabled).await?;
    Ok(Done::audited(reply::json(200, &record::account(&account))))
}

/// `DELETE /api/v1/accounts/{id}`
pub(crate) async fn end(cx: Cx) -> Result<Done, Fault> {
    acts::end_account(&cx).await?;
    Ok(Done::audited(reply::empty(204)))
}
