//! Login, logout, and the first administrator.

use axum::response::Response;
use betanet_auth::webauthn::Purpose;
use maud::html;

use crate::acts;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::page::{self, draw};
use crate::passkeys;
use crate::reply::{self, Done};

/// A path of this site that a login leads back to.
fn next(text: &str) -> &str {
    let own = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    if own && plain && text.len() <= 512 {
        text
    } else {
        "/control-panel"
    }
}

async fn drawn(cx: &Cx, status: u16, fault: Option<Fault>) -> Result<Response, Fault> {
    let setup = cx.shared.setup.clone();
    let open = cx
        .shared
        .desk
        .with(move |core, _, _| setup.is_open(&core.accounts))
        .await?;
    let fields = cx.fields();
    let name = fields.get("name");
    let back = match fields.get("next") {
        "" => cx.query.get("next"),
        next => next,
    };
    let asking = passkeys::ask(cx, Purpose::LogIn);
    let body = html! {
        h1 { "Log in" }
        @if let Some(fault) = fault { (page::failure(&fault.text(), "/login")) }
        @if open {
            section.card aria-labelledby="first" {
                h2 #first { "The first administrator" }
                p { "Nobody can log in yet. The coordinator printed a one-time code when it started." }
                form.stack method="post" action="/login/first" data-testid="first-admin-form" {
                    div { label for="code" { "Code from the console" } input #code name="code" required autocomplete="off" spellcheck="false"; }
                    div { label for="first-name" { "Name" } input #first-name name="name" required autocomplete="username" spellcheck="false"; p.soft { "1 to 63 of a-z 0-9 - _ ." } }
                    div { label for="first-password" { "Password" } input #first-password type="password" name="password" required autocomplete="new-password"; p.soft { "12 to 128 characters, not easy to guess." } }
                    div { button data-testid="first-admin-button" { "Make the administrator" } }
                }
            }
        } @else {
            form.stack.card method="post" action="/login" data-testid="login-form" {
                input type="hidden" name="next" value=(next(back));
                div { label for="name" { "Name" } input #name name="name" value=(name) required autocomplete="username" spellcheck="false"; }
                div { label for="password" { "Password" } input #password type="password" name="password" required autocomplete="current-password"; }
                div { button data-testid="login-button" { "Log in" } }
            }
            @if let Some(asking) = &asking {
                form.stack.card method="post" action="/login/passkey" data-testid="passkey-login-form" data-passkey="get" data-challenge=(asking.challenge) data-domain=(asking.domain) {
                    h2 { "Passkey" }
                    input type="hidden" name="next" value=(next(back));
                    @for field in PASSKEY { input type="hidden" name=(field); }
                    p.soft data-passkey-none { "Passkeys need script, and a browser that has them." }
                    div { button data-testid="passkey-login-button" hidden { "Log in with a passkey" } }
                    p.note.bad role="alert" data-testid="passkey-error" hidden {}
                }
            } @else { p.soft { "Passkeys belong to a name: on this machine, open the panel as http://localhost." } }
        }
    };
    let markup = draw(cx, ("Log in", "login-page"), None, body);
    Ok(reply::page(status, markup))
}

/// `GET /login`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["next"])?;
    Ok(drawn(&cx, 200, None).await?.into())
}

fn logged_in(by: &acts::LoggedIn, to: &str) -> Done {
    let mut response = reply::see_other(to);
    reply::set(&mut response, "set-cookie", by.session.expose());
    reply::set(&mut response, "set-cookie", &by.device);
    Done::audited(response)
}

/// A refused login, with the form again.
pub(crate) async fn refused(cx: &Cx, fault: Fault) -> Result<Response, Fault> {
    drawn(cx, fault.status(), Some(fault)).await
}

/// `POST /login`
pub(crate) async fn log_in(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["name", "password", "next"])?;
    let by = acts::log_in(&cx, fields.get("name"), fields.raw("password")).await?;
    Ok(logged_in(&by, next(fields.get("next"))))
}

/// Fields of a login by passkey.
const PASSKEY: [&str; 4] = ["credential", "client", "authenticator", "signature"];

/// `POST /login/passkey`
pub(crate) async fn by_passkey(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["next", PASSKEY[0], PASSKEY[1], PASSKEY[2], PASSKEY[3]])?;
    let by = passkeys::log_in(&cx, &fields).await?;
    Ok(logged_in(&by, next(fields.get("next"))))
}

/// `POST /login/first`
pub(crate) async fn first(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["code", "name", "password"])?;
    let (code, name) = (fields.get("code"), fields.get("name"));
    let by = acts::first_admin(&cx, code, name, fields.raw("password")).await?;
    Ok(logged_in(&by, "/control-panel"))
}

/// `POST /logout`
pub(crate) async fn log_out(cx: Cx) -> Result<Done, Fault> {
    acts::log_out(&cx).await?;
    let mut response = reply::see_other("/login");
    reply::set(
        &mut response,
        "set-cookie",
        &betanet_auth::session::clear_cookie(),
    );
    Ok(Done::audited(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_this_site_only() {
        assert_eq!(next("/tasks?page=2"), "/tasks?page=2");
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a b",
            "/a\r\nb",
        ] {
            assert_eq!(next(bad), "/control-panel", "{bad:?}");
        }
    }
}
