//! The fog's commands: tasks, jobs, nodes, and views of the whole.

mod connect;
mod events;
mod job;
mod lists;
mod node;
mod spec;
mod task;
mod text;
mod top;
mod view;

use betanet_fog::{Item, json};
use betanet_fog_client::{Error as FogError, FogClient};
use betanet_runtime::ErrorKind;

use crate::Fail;
use crate::args::{FogArgs, FogCommand, FogCommands, JobArgs, NodeArgs, TaskArgs, TopArgs};
use crate::fail::{chain, interruptible};
use crate::name;
pub(crate) use connect::{Others, Session};
pub(crate) use job::Reader as JobReader;
pub(crate) use spec::{cores_of, flag_time, in_bytes, size_of};
pub(crate) use task::verify_receipt;

impl From<FogError> for Fail {
    fn from(error: FogError) -> Self {
        let text = chain(&error);
        match (&error, error.kind()) {
            (FogError::Record { .. } | FogError::Route { .. } | FogError::NoCoordinator, _) => {
                Self::Usage(text)
            }
            (_, ErrorKind::Local) => Self::Local(text),
            _ => Self::Peer(text),
        }
    }
}

/// Runs `betanet task`.
pub(crate) async fn task(args: TaskArgs) -> Result<(), Fail> {
    task::run(args.command).await
}

/// Runs `betanet job`.
pub(crate) async fn job(args: JobArgs) -> Result<(), Fail> {
    job::run(args.command).await
}

/// Runs `betanet node`.
pub(crate) async fn node(args: NodeArgs) -> Result<(), Fail> {
    node::run(args.command).await
}

/// Runs `betanet fog`.
pub(crate) async fn fog(args: FogCommands) -> Result<(), Fail> {
    match args.command {
        FogCommand::Dead(args) => lists::dead(args).await,
        FogCommand::Events(args) => events::events(args).await,
        FogCommand::Topology(args) => view::topology(&args).await,
        FogCommand::Price(args) => view::price(&args.fog).await,
    }
}

/// Runs `betanet top`.
pub(crate) async fn top(args: TopArgs) -> Result<(), Fail> {
    top::run(args).await
}

/// Prepares a client. Coordinators and relays may be aliases.
async fn opened(args: &FogArgs) -> Result<Session, Fail> {
    let mut args = args.clone();
    name::named(&mut args.coordinator, &args.dial).await?;
    name::relays(&mut args.dial).await?;
    Session::open(&args)
}

/// Runs work with a client until it ends or a signal arrives. The session is closed in every case.
async fn with<T>(
    args: &FogArgs,
    work: impl AsyncFnOnce(&FogClient) -> Result<T, Fail>,
) -> Result<T, Fail> {
    let session = opened(args).await?;
    let done = interruptible(work(session.client())).await;
    session.close().await;
    done
}

/// Prints a body as one line of JSON.
fn print_json<T: Item>(body: &T) -> Result<(), Fail> {
    let text = json::to_string(body);
    say!("{}", text.map_err(|e| Fail::Peer(e.to_string()))?);
    Ok(())
}
