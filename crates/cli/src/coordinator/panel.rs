//! The control panel of a coordinator.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use betanet_auth::client::Proxies;
use betanet_economy_service::Ledger;
use betanet_fog_service::Coordinator;
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::Identity;
use betanet_panel::{Panel, Parts, SOURCES_MAX, Settings, Source, are_sources};
use betanet_runtime::{Gateway, read_secret, seed, write_secret};
use betanet_store::State;
use betanet_wire::text::{hex, unhex_array};
use zeroize::Zeroizing;

use crate::Fail;
use crate::args::PanelArgs;
use crate::fail::chain;

/// Folder in the state for accounts, sessions, tokens and the audit log.
const FOLDER: &str = "panel";
/// File with the key from which the panel derives tokens.
const KEY: &str = "key";

/// Settings of a panel, with its listener.
pub(crate) struct PanelSettings {
    listener: TcpListener,
    hosts: Vec<String>,
    proxies: Proxies,
    sources: Vec<Source>,
    rate_factor: u64,
}

/// Reads the sources.
fn sources(texts: &[String]) -> Result<Vec<Source>, Fail> {
    let all = texts.iter().map(|text| {
        let why = "NAME=http://HOST:PORT, with a name of 1 to 63 of a-z 0-9 - _ .";
        Source::from_text(text).ok_or_else(|| Fail::Usage(format!("--panel-source {text}: {why}")))
    });
    let all: Vec<Source> = all.collect::<Result<_, Fail>>()?;
    match are_sources(&all) {
        true => Ok(all),
        false => {
            let why = format!("at most {SOURCES_MAX} sources, each of another name");
            Err(Fail::Usage(format!("--panel-source: {why}")))
        }
    }
}

/// The flags, checked.
pub(super) struct Read {
    address: SocketAddr,
    proxies: Proxies,
    sources: Vec<Source>,
}

/// Checks the flags.
pub(super) fn read(args: &PanelArgs) -> Result<Option<Read>, Fail> {
    let Some(address) = args.panel else {
        return Ok(None);
    };
    let proxies = betanet_panel::proxies(&args.panel_proxy);
    let proxies = proxies.ok_or_else(|| {
        let why =
            "an address, or an address and the length of its prefix such as 10.0.0.0/8; at most 64";
        Fail::Usage(format!("--panel-proxy: {why}"))
    })?;
    let behind = !args.panel_host.is_empty();
    if behind == args.panel_proxy.is_empty() {
        // Without the proxy's address, all of its clients would share the limits of one address.
        let why = "--panel-host and --panel-proxy need each other";
        return Err(Fail::Usage(why.to_owned()));
    }
    if !address.ip().is_loopback() && !behind {
        let why = "plain HTTP on other addresses than 127.0.0.1 and [::1] needs a TLS proxy: name it with --panel-host and --panel-proxy";
        return Err(Fail::Usage(format!("panel {address}: {why}")));
    }
    let sources = sources(&args.panel_source)?;
    Ok(Some(Read {
        address,
        proxies,
        sources,
    }))
}

/// Checks the flags, and takes the address before anything else is started.
pub(crate) fn settings(args: &PanelArgs) -> Result<Option<PanelSettings>, Fail> {
    let Some(Read {
        address,
        proxies,
        sources,
    }) = read(args)?
    else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).map_err(|e| {
        let hint = crate::hint::listen(&address.to_string(), &e);
        Fail::Local(format!("panel {address}: {e}{hint}"))
    })?;
    Ok(Some(PanelSettings {
        listener,
        hosts: args.panel_host.clone(),
        proxies,
        sources,
        rate_factor: args.panel_rate_factor,
    }))
}

/// What is printed: where it is, and the code of the first administrator.
pub(super) fn facts(panel: &Panel) -> Vec<(&'static str, String)> {
    let mut all = vec![("panel", format!("{}/", panel.origin()))];
    if let Some(code) = panel.first_code() {
        all.push(("panel_code", code.expose().to_owned()));
    }
    all
}

/// The key of the panel, made at the first start.
fn key(state: &State) -> Result<[u8; 32], Fail> {
    let path = state.folder().join(KEY);
    let local = |e: betanet_runtime::FileError| Fail::Local(chain(&e));
    if !path.exists() {
        let seed = seed().map_err(|e| Fail::Local(chain(&e)))?;
        let fresh: [u8; 32] = betanet_machine::Rng::new(&seed).array();
        write_secret(&path, Zeroizing::new(hex(&fresh)).as_bytes()).map_err(local)?;
    }
    let text = read_secret(&path).map_err(local)?;
    let key = unhex_array(text.trim());
    key.ok_or_else(|| Fail::Local(format!("{}: not 64 hex digits", path.display())))
}

/// Starts the panel over a coordinator that runs.
pub(crate) async fn start(
    settings: PanelSettings,
    (coordinator, gateway, ledger): (&Coordinator, &Arc<Gateway>, Option<Ledger>),
    (state, floor, identity): (PathBuf, Option<u64>, Identity),
) -> Result<Panel, Fail> {
    let folder = state.join(FOLDER);
    let state = Arc::new(State::open(&folder).map_err(|e| Fail::Local(chain(&e)))?);
    let mut sqlite = SqliteSettings {
        leader: "panel".into(),
        ..SqliteSettings::default()
    };
    sqlite.floor = floor.unwrap_or(sqlite.floor);
    let key = key(&state)?;
    let journal = SqliteJournal::open(&state, sqlite).map_err(|e| Fail::Local(chain(&e)))?;
    let settings = Settings {
        listener: settings.listener,
        hosts: settings.hosts,
        proxies: settings.proxies,
        key,
        sources: settings.sources,
        rate_factor: settings.rate_factor,
    };
    let parts = Parts {
        journal: Arc::new(journal),
        files: state,
        coordinator: coordinator.local(),
        gateway: Arc::clone(gateway),
        jobs: Arc::new(crate::fog::JobReader(identity.clone())),
        ledger,
        identity,
    };
    let started = Panel::start(settings, parts).await;
    started.map_err(|e| Fail::Local(chain(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_once_and_bounded() {
        let read = |n: usize, name: fn(usize) -> String| {
            let all: Vec<String> = (0..n).map(name).collect();
            sources(&all).map(|all| all.len())
        };
        let apart = |n| format!("s{n}=http://127.0.0.1:1");
        assert!(matches!(read(SOURCES_MAX, apart), Ok(SOURCES_MAX)));
        for bad in [
            read(SOURCES_MAX + 1, apart),
            read(2, |_| "s=http://127.0.0.1:1".to_owned()),
            read(1, |_| "127.0.0.1:1".to_owned()),
        ] {
            assert!(matches!(bad, Err(Fail::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_host_and_a_proxy_need_each_other() {
        let args = |host: &[&str], proxy: &[&str]| PanelArgs {
            panel: Some(([127, 0, 0, 1], 0).into()),
            panel_host: host.iter().map(ToString::to_string).collect(),
            panel_proxy: proxy.iter().map(ToString::to_string).collect(),
            panel_source: vec!["names=http://127.0.0.1:1".to_owned()],
            panel_rate_factor: 1,
        };
        assert!(settings(&args(&[], &[])).is_ok());
        assert!(settings(&args(&["fog.example"], &["127.0.0.1"])).is_ok());
        for (host, proxy) in [
            (&["fog.example"][..], &[][..]),
            (&[][..], &["127.0.0.1"][..]),
        ] {
            let refused = settings(&args(host, proxy)).err();
            assert!(
                matches!(refused, Some(Fail::Usage(_))),
                "{host:?} {proxy:?}"
            );
        }
    }
}
