//! Changes of accounts, sessions and tokens, as pages and API share them.

use betanet_auth::login::Guess;
use betanet_auth::token::{NewToken, TokenId, narrower};
use betanet_auth::{
    Account, AccountId, Error as AuthError, Grant, Grants, Permissions, Role, Secret,
};

use crate::cx::{Cx, Noted};
use crate::fault::Fault;

/// Cookie with the token of a device that has logged in before.
pub(crate) const DEVICE: &str = "__Host-betanet-device";
/// Longest name that is looked up.
const NAME_MAX: usize = 256;
/// Life of an API token by default, in days.
pub(crate) const TOKEN_DAYS: u64 = 90;

/// What a login gives a browser.
pub(crate) struct LoggedIn {
    pub(crate) session: Secret,
    pub(crate) device: String,
}

fn cookie<'a>(field: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = field?.split(';').filter_map(|p| p.trim().split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, v)| v)
}

/// Checks a name and a password: the delay first, then the password, which costs the same for unknown names.
async fn guessed(cx: &Cx, name: &str, password: &str) -> Result<Account, Fault> {
    if name.len() > NAME_MAX {
        return Err(Fault::Field("name"));
    }
    let device = cookie(cx.cookie.as_deref(), DEVICE).map(str::to_owned);
    let (charge, owned) = (cx.charge, name.to_owned());
    let begun = cx.shared.desk.with(move |core, now, _| {
        let account = core.accounts.find(&owned).cloned();
        let id = account.as_ref().map(|a| a.id);
        let device = device.and_then(|d| core.devices.check(now.unix_ms, id, &d));
        let attempt = core.logins.begin(now.mono, &owned, charge, device)?;
        Ok::<_, AuthError>((attempt, account, device.is_some()))
    });
    let (attempt, account, known) = begun.await??;
    if let Some(account) = &account {
        let _ = cx.target.set(account.id.to_string());
    }
    let guess = Guess::new(account.as_ref(), password)?;
    let known = known || cx.who.is_some();
    cx.shared.check(known, guess).await?;
    let account = account.ok_or(AuthError::Credentials)?;
    cx.shared
        .desk
        .with(|core, _, _| core.logins.right(attempt))
        .await?;
    Ok(account)
}

/// The field `Set-Cookie` of a device's token.
fn device_cookie(token: &Secret) -> String {
    let token = token.expose();
    format!("{DEVICE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=15552000")
}

fn by(account: &Account) -> Option<String> {
    Some(format!("{} {}", account.name, account.id))
}

/// Opens a session for an account whose password or passkey was right.
pub(crate) async fn opened(cx: &Cx, account: Account) -> Result<LoggedIn, Fault> {
    let mut rng = cx.shared.rng();
    cx.change(move |core, now, tx| {
        let account = core.accounts.live(account.id, account.generation)?;
        let device = core.devices.issue(now.unix_ms, account.id, rng.array());
        let opened = core
            .sessions
            .open(now.unix_ms, account.id, account.generation, &mut rng)?;
        // The end goes first: a replay has no room for both.
        opened.ended.iter().for_each(|id| tx.session_ended(id));
        tx.session(&opened.session);
        let logged_in = LoggedIn {
            session: opened.token.set_cookie(),
            device: device_cookie(&device),
        };
        let actor = by(account);
        Ok((
            logged_in,
            Noted {
                actor,
                ..Noted::default()
            },
        ))
    })
    .await
}

/// Logs a browser in.
pub(crate) async fn log_in(cx: &Cx, name: &str, password: &str) -> Result<LoggedIn, Fault> {
    let account = guessed(cx, name, password).await?;
    opened(cx, account).await
}

/// Makes the first administrator by the code on the console, and logs it in.
pub(crate) async fn first_admin(
    cx: &Cx,
    code: &str,
    name: &str,
    password: &str,
) -> Result<LoggedIn, Fault> {
    let setup = cx.shared.setup.clone();
    let (tried, owned) = (code.to_owned(), name.to_owned());
    let checked = cx.shared.desk.with(move |core, _, _| {
        // The code is checked before work is done for it, and again with the change.
        setup.check(&core.accounts, &tried)
    });
    checked.await??;
    let hash = cx.shared.hash(false, password, name).await?;
    let (setup, code, id) = (cx.shared.setup.clone(), code.to_owned(), cx.shared.random());
    let account = cx.change(move |core, now, tx| {
        setup.check(&core.accounts, &code)?;
        let account = core.accounts.add_first(now.unix_ms, id, &owned, hash)?;
        tx.account(account);
        let noted = Noted::on(account.id.to_string()).states(None, Some(&account.to_bytes()));
        Ok((account.clone(), noted))
    });
    opened(cx, account.await?).await
}

/// Access and refresh token of a program.
pub(crate) struct Tokens {
    pub(crate) access: Secret,
    pub(crate) refresh: Secret,
    pub(crate) scopes: Permissions,
}

/// Logs a program in.
pub(crate) async fn api_log_in(
    cx: &Cx,
    name: &str,
    password: &str,
    scopes: Permissions,
) -> Result<Tokens, Fault> {
    let account = guessed(cx, name, password).await?;
    let mut rng = cx.shared.rng();
    cx.change(move |core, now, tx| {
        let account = core.accounts.live(account.id, account.generation)?.clone();
        let (id, generation) = (account.id, account.generation);
        let (first, ended) =
            core.families
                .begin(now.unix_ms, id, generation, scopes, rng.array())?;
        ended.iter().for_each(|id| tx.family_ended(id));
        tx.family(&first.family);
        let access = core
            .keyring
            .issue(now.unix_ms, id, generation, scopes, &mut rng);
        let tokens = Tokens {
            access: access.ok_or(AuthError::Bug)?,
            refresh: first.token,
            scopes,
        };
        let actor = by(&account);
        Ok((
            tokens,
            Noted {
                actor,
                ..Noted::default()
            },
        ))
    })
    .await
}

/// Turns a refresh token.
pub(crate) async fn refresh(cx: &Cx, token: &str) -> Result<Tokens, Fault> {
    let (token, mut rng) = (token.to_owned(), cx.shared.rng());
    // A reused token ends its family, which is a change although the request is refused.
    let ended = cx.shared.desk.with({
        let token = token.clone();
        move |core, now, tx| match core.families.refresh(now.unix_ms, &token) {
            Ok(refreshed) => {
                tx.family(&refreshed.family);
                let family = &refreshed.family;
                let live = core.accounts.live(family.account, family.generation);
                live.map(|a| (refreshed.token, refreshed.family.clone(), a.clone()))
            }
            Err(ended) => {
                ended.family.iter().for_each(|id| tx.family_ended(id));
                Err(ended.why)
            }
        }
    });
    let (refresh, family, account) = ended.await??;
    cx.change(move |core, now, _| {
        let scopes = family.scopes;
        let access = core.keyring.issue(
            now.unix_ms,
            family.account,
            family.generation,
            scopes,
            &mut rng,
        );
        let tokens = Tokens {
            access: access.ok_or(AuthError::Bug)?,
            refresh,
            scopes,
        };
        let actor = by(&account);
        Ok((
            tokens,
            Noted {
                actor,
                ..Noted::default()
            },
        ))
    })
    .await
}

/// Checks the caller's own password, which somebody who only has its session does not know.
pub(crate) async fn own_password(cx: &Cx, password: &str) -> Result<Account, Fault> {
    let name = cx.who()?.name.clone();
    match guessed(cx, &name, password).await {
        Err(Fault::Auth(AuthError::Credentials)) => Err(Fault::Password),
        guessed => guessed,
    }
}

/// Replaces the caller's own password, which ends its sessions and tokens.
pub(crate) async fn set_password(cx: &Cx, old: &str, new: &str) -> Result<(), Fault> {
    let account = own_password(cx, old).await?;
    let hash = cx.shared.hash(true, new, &account.name).await?;
    cx.change(move |core, _, tx| {
        core.accounts.live(account.id, account.generation)?;
        let before = account.to_bytes();
        let account = core.accounts.set_password(account.id, hash)?;
        tx.account(account);
        let noted = Noted::on(account.id.to_string());
        Ok(((), noted.states(Some(&before), Some(&account.to_bytes()))))
    })
    .await
}

/// Ends all sessions and tokens of the caller's account.
pub(crate) async fn end_sessions(cx: &Cx) -> Result<(), Fault> {
    let id = cx.who()?.caller.account;
    cx.change(move |core, now, tx| {
        let account = core.accounts.end_sessions(id)?;
        tx.account(account);
        core.sweep(now.unix_ms, tx);
        Ok(((), Noted::on(id.to_string())))
    })
    .await
}

/// Makes an API token of the caller; its text is shown once.
pub(crate) async fn make_token(
    cx: &Cx,
    name: &str,
    scopes: Permissions,
    days: u64,
) -> Result<(Secret, TokenId), Fault> {
    let caller = cx.who()?.caller;
    narrower(caller.scopes, scopes)?;
    let (name, mut rng) = (name.to_owned(), cx.shared.rng());
    let life = days.checked_mul(86_400_000).ok_or(AuthError::Lifetime)?;
    cx.change(move |core, now, tx| {
        let account = core
            .accounts
            .get(caller.account)
            .ok_or(AuthError::Expired)?;
        let new = NewToken {
            account: account.id,
            generation: account.generation,
            name: &name,
            scopes,
            expires: now.unix_ms.saturating_add(life),
        };
        let (text, token) = core.tokens.make(now.unix_ms, new, &mut rng)?;
        tx.token(&token);
        let noted = Noted::on(token.id.to_string());
        Ok((
            (text, token.id),
            noted.states(None, Some(&token.to_bytes())),
        ))
    })
    .await
}

/// Ends an API token of the caller.
pub(crate) async fn end_token(cx: &Cx) -> Result<(), Fault> {
    let account = cx.who()?.caller.account;
    let id = TokenId::from_text(cx.var()).ok_or(Fault::Missing)?;
    cx.change(move |core, _, tx| {
        let token = core.tokens.end(account, id)?;
        tx.token_ended(account, id);
        let noted = Noted::on(id.to_string());
        Ok(((), noted.states(Some(&token.to_bytes()), None)))
    })
    .await
}

/// Reads grants: `role` or `role@namespace`, separated by spaces.
pub(crate) fn grants(text: &str) -> Result<Grants, Fault> {
    let read = |word: &str| {
        let (role, ns) = match word.split_once('@') {
            Some((role, ns)) => (role, Some(ns)),
            None => (word, None),
        };
        let role = Role::from_word(role)?;
        match ns {
            None => Some(Grant::everywhere(role)),
            Some("") => None,
            Some(ns) => Some(Grant::within(role, ns.parse().ok()?)),
        }
    };
    let all: Option<Vec<Grant>> = text.split_whitespace().map(read).collect();
    let all = all.filter(|all| !all.is_empty());
    Ok(Grants::new(all.ok_or(Fault::Field("grants"))?)?)
}

/// Makes an account.
pub(crate) async fn make_account(
    cx: &Cx,
    name: &str,
    password: &str,
    all: &str,
) -> Result<Account, Fault> {
    let grants = grants(all)?;
    let hash = cx.shared.hash(true, password, name).await?;
    let (name, id) = (name.to_owned(), cx.shared.random());
    cx.change(move |core, now, tx| {
        let account = core
            .accounts
            .add(now.unix_ms, id, &name, grants, Some(hash))?;
        tx.account(account);
        let noted = Noted::on(account.id.to_string());
        let noted = noted.states(None, Some(&account.to_bytes()));
        Ok((account.clone(), noted))
    })
    .await
}

/// Replaces the grants of an account, or disables or enables it.
pub(crate) async fn change_account(
    cx: &Cx,
    all: Option<&str>,
    disabled: Option<bool>,
) -> Result<Account, Fault> {
    let id = cx.account()?;
    let grants = all.map(grants).transpose()?;
    cx.change(move |core, now, tx| {
        let before = core.accounts.get(id).ok_or(AuthError::Unknown)?.clone();
        if let Some(grants) = grants {
            core.accounts.set_grants(id, grants)?;
        }
        if let Some(disabled) = disabled.filter(|d| *d != before.disabled)
            && let Err(error) = core.accounts.set_disabled(id, disabled)
        {
            // Both or neither.
            core.accounts.set_grants(id, before.grants)?;
            return Err(error);
        }
        let account = core.accounts.get(id).ok_or(AuthError::Unknown)?.clone();
        tx.account(&account);
        core.sweep(now.unix_ms, tx);
        let noted = Noted::on(id.to_string());
        let noted = noted.states(Some(&before.to_bytes()), Some(&account.to_bytes()));
        Ok((account, noted))
    })
    .await
}

/// Removes an account.
pub(crate) async fn end_account(cx: &Cx) -> Result<(), Fault> {
    let id: AccountId = cx.account()?;
    cx.change(move |core, now, tx| {
        // Its tokens are found by their account.
        let own: Vec<TokenId> = core.tokens.of(id).map(|t| t.id).collect();
        let account = core.accounts.remove(id)?;
        for token in own {
            if core.tokens.end(id, token).is_ok() {
                tx.token_ended(id, token);
            }
        }
        tx.account_ended(id);
        core.sweep(now.unix_ms, tx);
        let noted = Noted::on(id.to_string());
        Ok(((), noted.states(Some(&account.to_bytes()), None)))
    })
    .await
}

/// Ends the session of a browser.
pub(crate) async fn log_out(cx: &Cx) -> Result<(), Fault> {
    use betanet_auth::admission::Means;
    let caller = cx.who()?.caller;
    cx.change(move |core, _, tx| {
        if let Means::Session(id) = caller.means {
            core.sessions.end(&id);
            tx.session_ended(&id);
        }
        Ok(((), Noted::default()))
    })
    .await
}
