//! `/settings`: the own password and tokens, and the accounts.

use betanet_auth::limit::Class;
use betanet_auth::token::ApiToken;
use betanet_auth::webauthn::{Passkey, Purpose};
use betanet_auth::{Account, Error as AuthError, Permission, Permissions, Role};
use betanet_wire::text::base64url;
use maud::{Markup, html};

use crate::acts::{self, TOKEN_DAYS};
use crate::body::{BODY_MAX, JOB_MAX};
use crate::core::RECENT_MAX;
use crate::cx::Cx;
use crate::downloads::{DOWNLOADS_AN_ACCOUNT, DOWNLOADS_MAX};
use crate::fault::Fault;
use crate::jobs::FILE_MAX;
use crate::kept::VERSIONS_MAX;
use crate::list;
use crate::live::{STREAMS_AN_ACCOUNT, STREAMS_MAX, UNSEEN};
use crate::page;
use crate::passkeys;
use crate::record;
use crate::reply::{self, Done};
use crate::shared::{EXPORTS_MAX, MODULE_MAX, UPLOADS_MAX};
use crate::text;

/// Columns of the accounts as CSV.
const ACCOUNTS: [&str; 5] = ["id", "name", "grants", "disabled", "made_ms"];
/// Columns of tokens as CSV.
const TOKENS: [&str; 6] = ["id", "name", "scopes", "made_ms", "expires_ms", "used_ms"];

/// Scopes of the fields of a form: a box for each permission.
fn scopes(fields: &crate::form::Fields) -> Permissions {
    let all = Permission::ALL.iter().copied();
    let chosen = all.filter(|p| fields.get(p.as_str()) == "on");
    Permissions::of(&chosen.collect::<Vec<Permission>>())
}

fn password(cx: &Cx) -> Markup {
    html! {
        section.card aria-labelledby="password-title" {
            h2 #password-title { "Password" }
            form.stack method="post" action="/settings/password" data-testid="password-form" {
                (page::token(cx))
                div { label for="p-old" { "Present password" } input #p-old type="password" name="old" required autocomplete="current-password"; }
                div { label for="p-new" { "New password" } input #p-new type="password" name="new" required autocomplete="new-password"; p.soft { "12 to 128 characters, not easy to guess. All sessions and tokens end. Passkeys stay: remove those that you do not know." } }
                div { button { "Change the password" } }
            }
        }
    }
}

fn passkey(cx: &Cx, p: &Passkey) -> Markup {
    let id = base64url(&p.id);
    html! {
        tr data-testid="passkey" {
            th scope="row" { (p.name) } td { (p.algorithm.as_str()) } td { (text::moment(p.made)) }
            td { form method="post" action="/settings/passkeys/remove" { (page::token(cx)) input type="hidden" name="credential" value=(id); button.bad { "Remove" span.quiet { " passkey " (p.name) } } } }
        }
    }
}

fn passkeys(cx: &Cx, me: &Account) -> Markup {
    let known: Vec<String> = me.passkeys.iter().map(|p| base64url(&p.id)).collect();
    html! {
        section.card aria-labelledby="passkeys-title" {
            h2 #passkeys-title { "Passkeys" }
            @if me.passkeys.is_empty() { (page::empty("You have no passkeys.")) }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Passkeys" { table {
                    thead { tr { @for name in ["Name", "Algorithm", "Made", ""] { th scope="col" { (name) } } } }
                    tbody { @for p in &me.passkeys { (passkey(cx, p)) } }
                } }
                p.soft { "To remove one ends all your sessions and tokens." }
            }
            @if let Some(asking) = passkeys::ask(cx, Purpose::Register(me.id)) {
                h3 { "A new passkey" }
                form.stack method="post" action="/settings/passkeys" data-testid="passkey-form" data-passkey="create" data-challenge=(asking.challenge) data-domain=(asking.domain)
                    data-user=(base64url(&me.id.0)) data-name=(me.name) data-known=(known.join(" ")) {
                    (page::token(cx))
                    input type="hidden" name="client"; input type="hidden" name="attestation";
                    div { label for="k-password" { "Present password" } input #k-password type="password" name="password" required autocomplete="current-password"; }
                    div { label for="k-name" { "Name" } input #k-name name="name" required maxlength="64" spellcheck="false"; }
                    p.soft data-passkey-none { "Passkeys need script, and a browser that has them." }
                    div { button data-testid="add-passkey-button" hidden { "Add a passkey" } }
                    p.note.bad role="alert" data-testid="passkey-error" hidden {}
                }
            } @else { p.soft { "Passkeys belong to a name: on this machine, open the panel as http://localhost." } }
            p.soft { "No command line adds a passkey: the browser makes it." }
        }
    }
}

fn tokens(cx: &Cx, own: &[ApiToken]) -> Markup {
    let now_ms = cx.now_ms;
    html! {
        section.card aria-labelledby="tokens-title" {
            h2 #tokens-title { "API tokens" }
            @if own.is_empty() { (page::empty("You have no tokens.")) }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Tokens" { table {
                    thead { tr { @for name in ["Name", "Scopes", "Expires", "Last use", ""] { th scope="col" { (name) } } } }
                    tbody { @for t in own {
                        tr data-testid={ "token-" (t.id) } {
                            th scope="row" { (t.name) } td { (t.scopes.to_text()) } td { (text::moment(t.expires)) }
                            td { (t.used.map_or("never".to_owned(), |at| text::ago(now_ms, at))) }
                            td { form method="post" action={ "/settings/tokens/" (t.id) "/end" } { (page::token(cx)) button.bad { "End" span.quiet { " token " (t.name) } } } }
                        }
                    } }
                } }
            }
            (page::exports(cx, "tokens", "your tokens"))
            h3 { "A new token" }
            form.stack method="post" action="/settings/tokens" data-testid="token-form" {
                (page::token(cx))
                div { label for="t-name" { "Name" } input #t-name name="name" required spellcheck="false"; }
                div { label for="t-days" { "Valid for days" } input #t-days name="days" value=(TOKEN_DAYS) inputmode="numeric"; }
                fieldset { legend { "Scopes" }
                    @for p in Permission::ALL { @if cx.may_somewhere(*p) {
                        p { input type="checkbox" id={ "scope-" (p.as_str()) } name=(p.as_str()); " " label.inline for={ "scope-" (p.as_str()) } { (p.as_str()) } }
                    } }
                }
                div { button { "Make a token" } }
            }
            (page::command(&format!("curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' {0}/api/v1/me/tokens -d '{{\"name\": \"NAME\", \"scope\": \"look\", \"days\": 30}}'\ncurl -H \"Authorization: Bearer $TOKEN\" -X DELETE {0}/api/v1/me/tokens/ID", cx.shared.origin)))
        }
    }
}

fn row(cx: &Cx, account: &Account) -> Markup {
    let id = account.id.to_string();
    html! {
        tr data-testid={ "account-" (account.name) } {
            th scope="row" { (account.name) }
            td { @if account.disabled { (page::badge("disabled")) } @else { (page::badge("active")) } }
            td { (text::moment(account.made)) }
            td { form.row method="post" action={ "/settings/accounts/" (id) } {
                (page::token(cx))
                label.quiet for={ "g-" (id) } { "Roles of " (account.name) }
                input id={ "g-" (id) } name="grants" value=(record::grants(account)) spellcheck="false";
                span { input type="checkbox" id={ "d-" (id) } name="disabled" checked[account.disabled]; " " label for={ "d-" (id) } { "disabled" span.quiet { " " (account.name) } } }
                button.plain { "Change" span.quiet { " " (account.name) } }
            } }
        }
    }
}

fn accounts(cx: &Cx, all: &[Account]) -> Markup {
    if !cx.may(Permission::Manage, None) {
        return html! {};
    }
    html! {
        section.card aria-labelledby="accounts-title" {
            h2 #accounts-title { "Accounts" }
            div.scroll tabindex="0" role="region" aria-label="All accounts" { table {
                thead { tr { @for name in ["Name", "State", "Made", "Roles"] { th scope="col" { (name) } } } }
                tbody { @for account in all { (row(cx, account)) } }
            } }
            (page::exports(cx, "accounts", "the accounts"))
            p.soft { "Roles: " (Role::ALL.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(", ")) ". A role holds everywhere, or as role@namespace in one namespace." }
            h3 { "A new account" }
            form.stack method="post" action="/settings/accounts" data-testid="account-form" {
                (page::token(cx))
                div { label for="a-name" { "Name" } input #a-name name="name" required autocomplete="off" spellcheck="false"; }
                div { label for="a-password" { "Password" } input #a-password type="password" name="password" required autocomplete="new-password"; }
                div { label for="a-grants" { "Roles" } input #a-grants name="grants" value="viewer" required spellcheck="false"; }
                div { button { "Make the account" } }
            }
            (page::command(&format!("curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' {0}/api/v1/accounts -d '{{\"name\": \"NAME\", \"password\": \"PASSWORD\", \"grants\": \"viewer\"}}'\ncurl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -X PATCH {0}/api/v1/accounts/ID -d '{{\"grants\": \"viewer\", \"disabled\": true}}'", cx.shared.origin)))
        }
    }
}

/// The bounds that a caller may meet.
fn limits() -> Markup {
    let minute = |class: Class| format!("{} a minute", class.per_minute());
    let bytes = |n: usize| text::bytes(n as u64);
    let rows = [
        ("Requests that change something", minute(Class::Write)),
        ("Other requests", minute(Class::Read)),
        ("Logins of an address", minute(Class::Login)),
        (
            "Open pages with live updates",
            format!("{STREAMS_AN_ACCOUNT} of an account, {STREAMS_MAX} in all"),
        ),
        (
            "Live updates of a page that stands still",
            format!("end after {} s", UNSEEN.as_secs()),
        ),
        (
            "Body of a request",
            format!(
                "{}; {} with a job file; {} for a module",
                bytes(BODY_MAX),
                bytes(JOB_MAX),
                bytes(MODULE_MAX)
            ),
        ),
        ("Modules that are uploaded at once", UPLOADS_MAX.to_string()),
        ("Lists that are exported at once", EXPORTS_MAX.to_string()),
        (
            "Files of outputs that are taken at once",
            format!("{DOWNLOADS_MAX}, {DOWNLOADS_AN_ACCOUNT} by an account"),
        ),
        (
            "Job file",
            format!(
                "{}; {VERSIONS_MAX} versions of a job are kept",
                bytes(FILE_MAX)
            ),
        ),
        (
            "Audit records that the page searches",
            format!(
                "the newest {}; the API has all",
                text::number(RECENT_MAX as u64)
            ),
        ),
    ];
    html! {
        section.card aria-labelledby="limits" {
            h2 #limits { "Limits" }
            p.soft { "The coordinator's operator can give accounts more requests: coordinator --panel-rate-factor N. Beyond a limit, an answer says when to come back." }
            div.scroll tabindex="0" role="region" aria-label="Table of limits" { table data-testid="limits-table" {
                thead { tr { th scope="col" { "What" } th scope="col" { "Most" } } }
                tbody { @for (what, most) in rows { tr { th scope="row" { (what) } td { (most) } } } }
            } }
        }
    }
}

/// `GET /settings`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["list", "format", "done"])?;
    let id = cx.who()?.caller.account;
    let manages = cx.may(Permission::Manage, None);
    let read = cx.shared.desk.with(move |core, _, _| {
        let own: Vec<ApiToken> = core.tokens.of(id).cloned().collect();
        let all = core.accounts.iter().filter(|_| manages);
        let mut all: Vec<Account> = all.cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        (own, all, core.accounts.get(id).cloned())
    });
    let (own, all, me) = read.await?;
    if list::exports(&cx) {
        let as_of = (cx.shared.local.position(), cx.now_ms);
        let sent = match cx.query.get("list") {
            "accounts" if manages => {
                list::export(&cx, as_of, &ACCOUNTS, all.iter().map(record::account))?
            }
            "accounts" => return Err(Fault::Auth(AuthError::Denied)),
            "" | "tokens" => list::export(&cx, as_of, &TOKENS, own.iter().map(record::token))?,
            _ => return Err(Fault::Field("list")),
        };
        return Ok(sent.ok_or(Fault::Field("format"))?.into());
    }
    let body = html! {
        h1 data-testid="settings-header" { "Settings" }
        @if let Some(me) = &me { p { "You are " strong { (me.name) } ": " (record::grants(me)) "." } }
        (password(&cx))
        @if let Some(me) = &me { (passkeys(&cx, me)) }
        (tokens(&cx, &own))
        (accounts(&cx, &all))
        (limits())
    };
    Ok(page::answer(&cx, ("Settings", "settings-page"), None, body).into())
}

/// `POST /settings/password`
pub(crate) async fn set_password(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["old", "new"])?;
    acts::set_password(&cx, fields.raw("old"), fields.raw("new")).await?;
    Ok(Done::audited(reply::see_other("/login")))
}

/// `POST /settings/passkeys`
pub(crate) async fn add_passkey(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["name", "password", "client", "attestation"])?;
    passkeys::register(&cx, &fields).await?;
    Ok(Done::audited(reply::see_other("/settings?done=passkey")))
}

/// `POST /settings/passkeys/remove`
pub(crate) async fn remove_passkey(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["credential"])?;
    passkeys::remove(&cx, &fields).await?;
    Ok(Done::audited(reply::see_other("/login")))
}

/// `POST /settings/tokens`
pub(crate) async fn make_token(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    let words = Permission::ALL.iter().map(|p| p.as_str());
    let known: Vec<&str> = words.chain(["name", "days"]).collect();
    fields.only(&known)?;
    let days = fields.number("days", TOKEN_DAYS)?;
    let (secret, id) = acts::make_token(&cx, fields.get("name"), scopes(&fields), days).await?;
    let body = html! {
        h1 { "A new API token" }
        div.note.good role="status" data-testid="success-notification" { "The token is shown once. Programs send it as " code { "Authorization: Bearer TOKEN" } "." }
        pre data-testid="new-token" { code { (secret.expose()) } }
        p.soft { "Its ID is " code { (id) } "." }
        p { a.button href="/settings" { "Back to the settings" } }
    };
    let answer = page::answer(&cx, ("A new API token", "token-page"), None, body);
    Ok(Done::audited(answer))
}

/// `POST /settings/tokens/{id}/end`
pub(crate) async fn end_token(cx: Cx) -> Result<Done, Fault> {
    cx.fields().only(&[])?;
    acts::end_token(&cx).await?;
    Ok(Done::audited(reply::see_other(
        "/settings?done=token-ended",
    )))
}

/// `POST /settings/accounts`
pub(crate) async fn make_account(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["name", "password", "grants"])?;
    let (name, password) = (fields.get("name"), fields.raw("password"));
    acts::make_account(&cx, name, password, fields.get("grants")).await?;
    Ok(Done::audited(reply::see_other(
        "/settings?done=account-made",
    )))
}

/// `POST /settings/accounts/{id}`
pub(crate) async fn change_account(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["grants", "disabled"])?;
    let disabled = fields.get("disabled") == "on";
    acts::change_account(&cx, Some(fields.get("grants")), Some(disabled)).await?;
    Ok(Done::audited(reply::see_other("/settings?done=account")))
}
