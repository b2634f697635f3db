//! The components of a gateway, built from the configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use betanet_bar::{self as bar, Access, MemoryStore};
use betanet_carrier::client::Way;
use betanet_carrier::{CertSource, Certificate, Cover, Http2Look, OriginProxy, Plain, calibrate};
use betanet_dial::FileError;
use betanet_keys::{Endpoint, Name};
use betanet_mixnet::MixSetup;
use betanet_session::{HandlerService, Service};
use betanet_store::{Error as StateError, State, Storage};

use crate::health::writable;
use crate::made::{is_missing, made_site};
use crate::{CoverSite, Error, FolderService, GatewayConfig};

/// Interval at which certificate files are checked.
pub(super) const RELOAD: Duration = Duration::from_secs(5);

/// Time limit for a front origin to send its SETTINGS.
const LOOK: Duration = Duration::from_secs(5);

/// Returns the first HTTP/2 frames of a site that shows this origin's pages: those of the origin, or those of nginx if the origin
/// is not reached.
pub(super) async fn look_of(origin: &OriginProxy) -> Http2Look {
    let nginx = Http2Look::nginx();
    let Some(address) = origin.over_tls() else {
        return nginx;
    };
    let trust = origin.trust();
    let asked = calibrate(&address, &trust, Way::default(), &Plain, Duration::ZERO);
    match tokio::time::timeout(LOOK, asked).await {
        Ok(Ok(seen)) => seen.look().unwrap_or(nginx),
        Ok(Err(error)) => {
            tracing::warn!(%address, %error, "what the origin's HTTP/2 looks like is not known");
            nginx
        }
        Err(_) => {
            tracing::warn!(%address, "the origin does not say in time what its HTTP/2 looks like");
            nginx
        }
    }
}

/// Returns the folders that a node writes to while it runs: a served folder that others may write, and the folder of its state.
///
/// A node that keeps no state has the folder of its key instead, if that is writable.
pub(super) fn written(config: &GatewayConfig, keeps: bool) -> Vec<PathBuf> {
    let served = config
        .folder
        .serve
        .iter()
        .filter(|_| config.folder.may_write());
    let kept = config.state();
    let keeps = keeps && kept.is_dir();
    let state = match config.node.key.parent() {
        _ if keeps => kept.as_path(),
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let state = Some(state.to_owned()).filter(|f| keeps || writable(f).is_ok());
    served.cloned().chain(state).collect()
}

/// Returns the fallback service: the configured folder, or none.
pub(super) fn folder(config: &GatewayConfig) -> Result<Arc<dyn Service>, Error> {
    let Some(folder) = &config.folder.serve else {
        let nothing = bar::Service::new(MemoryStore::new(0), Access::Nobody);
        return Ok(Arc::new(HandlerService::new(nothing)));
    };
    let access = match (&config.folder.allow[..], config.folder.writable) {
        ([], true) => Access::Anyone,
        ([], false) => Access::Nobody,
        (names, _) => Access::Only(names.iter().map(Name::node_id).collect::<BTreeSet<_>>()),
    };
    let service = if config.folder.may_write() {
        FolderService::writable(folder, config.folder.quota, config.folder.entries, access)
    } else {
        FolderService::read_only(folder)
    };
    let service = service.map_err(FileError::io(folder))?;
    Ok(Arc::new(service.listing(config.folder.listing)))
}

pub(super) fn certificate(config: &GatewayConfig) -> Result<Arc<CertSource>, Error> {
    let certificate = match config.tls.pair() {
        Some((chain, key)) => CertSource::files(&chain, &key),
        None => match config.own_certificate() {
            Some(path) => Certificate::load_or_create(&path, &config.tls.hosts),
            None => Certificate::self_signed(&config.tls.hosts),
        }
        .map(CertSource::fixed),
    };
    Ok(Arc::new(certificate.map_err(Error::Certificate)?))
}

impl GatewayConfig {
    /// Returns the service of the configured folder, which [`super::GatewayBuilder`] serves at `/` unless another one is there. Without a
    /// folder, it answers 404.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub fn folder_service(&self) -> Result<Arc<dyn Service>, Error> {
        folder(self)
    }

    /// Returns whether the node cannot run without its state folder, or its operator named one.
    pub(crate) fn needs_state(&self) -> bool {
        let key = &self.node.key;
        let makes = matches!(self.site.cover_site(), CoverSite::Made) && is_missing(key);
        let holds_key = key.parent() == Some(&self.state());
        let keeps = self.mesh.network.is_some() || self.legacy.compat11().is_on();
        self.node.state.is_some() || keeps || makes || holds_key
    }

    /// Opens and holds the node's state folder, so that no second process runs a node with its key. Returns `None` for a node
    /// without a key file, and for an unusable folder that is not needed, which the log tells.
    ///
    /// # Errors
    ///
    /// Another process holds the folder, or it is unusable and `needed`, or this configuration needs it.
    pub fn hold_state(&self, needed: bool) -> Result<Option<Arc<State>>, Error> {
        let folder = self.state();
        if folder.as_os_str().is_empty() {
            return Ok(None);
        }
        match State::open(&folder) {
            Ok(state) => Ok(Some(Arc::new(state))),
            Err(e @ StateError::Held { .. }) => Err(e.into()),
            Err(e) if needed || self.needs_state() => Err(e.into()),
            Err(error) => {
                tracing::warn!(
                    "{error}: the node keeps no state, and a second process with its key is not noticed"
                );
                Ok(None)
            }
        }
    }
}

/// Returns the web site for visitors.
pub(super) fn cover(
    config: &GatewayConfig,
    state: Option<&dyn Storage>,
    addresses: &[String],
) -> Result<Cover, Error> {
    let cover = match &config.site.cover_site() {
        CoverSite::Folder(path) => {
            Cover::new(path, SystemTime::now).map_err(FileError::io(path))?
        }
        CoverSite::Origin(origin) => {
            if origin.is_local() {
                tracing::warn!(
                    ?origin,
                    "the front origin is on this machine and takes every visitor for a local one: it must let nobody in for \
                     coming from there, and read x-forwarded-for"
                );
            }
            Cover::proxy(origin.clone(), SystemTime::now)
        }
        CoverSite::Made => {
            let folder = made_site(state, &config.node.key, SystemTime::now())?;
            Cover::new(&folder, SystemTime::now).map_err(FileError::io(&folder))?
        }
    };
    let mut endpoints = addresses.iter().filter_map(|a| a.parse::<Endpoint>().ok());
    let quic = endpoints.find_map(|e| e.quic.then_some(e.address.port));
    Ok(match quic {
        Some(port) if config.listener.alt_svc => cover.with_h3(port),
        _ => cover,
    })
}

/// Returns the settings of the node's parts in the mix.
pub(super) fn mix_setup(config: &GatewayConfig) -> MixSetup {
    MixSetup {
        roles: config.mesh.roles,
        rate: config.mix.rate,
        memory: config.mix.memory,
        threads: config.mix.threads(),
        waiting: config.mix.waiting,
        lose: (config.mix.lose, config.mix.lose_seed),
        key: config.node.key.clone(),
        state: config.state(),
    }
}

/// Reloads a changed certificate, for as long as the node runs.
pub(super) async fn reload(certificate: Arc<CertSource>) {
    loop {
        tokio::time::sleep(RELOAD).await;
        let certificate = Arc::clone(&certificate);
        let reloading = tokio::task::spawn_blocking(move || certificate.reload());
        match reloading.await {
            Ok(Ok(true)) => tracing::info!("certificate reloaded"),
            Ok(Err(error)) => tracing::warn!(%error, "the changed certificate is not used"),
            // The panic hook has already reported a panic.
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}
