//! A worker of the demo: the real one, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::TokenText;
use betanet_fog_client::FogClient;
use betanet_fog_worker::{Described, Error, Handle, Measured, Service, Settings};
use betanet_host::{Own, Root, Sensors};
use betanet_sandbox::ChildProgram;
use betanet_store::State;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fog_failed;
use crate::Fail;
use crate::demo::failed;

/// Time for a worker to end.
const GOODBYE: Duration = Duration::from_secs(10);

pub(super) struct Worker {
    home: PathBuf,
    stop: CancellationToken,
    work: JoinHandle<Result<(), Error>>,
}

impl Worker {
    /// Starts a worker in a state folder of its own, and waits until it has joined.
    pub(super) async fn start(
        home: &Path,
        client: FogClient,
        n: u32,
        token: TokenText,
    ) -> Result<Self, Fail> {
        let home = home.join(format!("worker-{n}"));
        let state = State::open(&home).map_err(|e| fog_failed(&e))?;
        let word = |text: String| text.parse().unwrap_or_default();
        let settings = Settings {
            described: Described {
                org: word(format!("org-{n}")),
                zone: word(format!("zone-{n}")),
                region: word("here".to_owned()),
                cpu: Some(8_000),
                memory: Some(4 << 30),
                relay: 10_000_000,
                ..Described::default()
            },
            measured: Measured::default(),
            child: ChildProgram::this().map_err(|e| failed(e.to_string()))?,
            spare: 1,
            compiled_max: 64 << 20,
            blobs: Default::default(),
            peers: Default::default(),
            network: false,
            network_private: Vec::new(),
            harvest: None,
            drain: Duration::from_secs(5),
            mix: None,
        };
        let service = Service::open(&Arc::new(state), client, settings).await;
        let service = service.map_err(|e| fog_failed(&e))?;
        let handle: Handle = service.handle();
        let stop = CancellationToken::new();
        let sensors = Sensors::new(Root::here(), Own::this_process());
        let mut work = tokio::spawn(service.run(Some(token), sensors, stop.clone()));
        tokio::select! {
            () = handle.joined() => Ok(Self { home, stop, work }),
            done = &mut work => match done {
                Ok(Err(error)) => Err(fog_failed(&error)),
                _ => Err(failed("fog: a worker ended before it had joined")),
            },
        }
    }

    /// Ends it without a word to the coordinator.
    pub(super) fn kill(self) {
        self.work.abort();
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(GOODBYE, self.work).await;
    }

    /// A receipt that it keeps.
    pub(super) fn receipt(&self) -> Option<PathBuf> {
        let mut all = std::fs::read_dir(self.home.join("receipts")).ok()?;
        all.find_map(|entry| Some(entry.ok()?.path()))
    }
}
