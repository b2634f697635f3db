//! The requests of the chapter: routes, checks in their order, answers. BAR and HTTP are two faces of it.

mod blob;
mod body;
mod budget;
mod log;
mod node;
pub(crate) mod route;
mod stream;
mod user;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use betanet_blobs::{Blobs, Logs};
use betanet_coordinator::{Caller, Reply, Request};
use betanet_fog::bodies::RefusalBody;
use betanet_fog::{Call, Item, Level, Refusal, RefusalCode, Shape, to_vec};
use betanet_journal::Journal;
use betanet_keys::{Identity, PublicKey};
use betanet_session::Room;
use betanet_wire::{ChargeTo, NodeId};
use bytes::Bytes;
use futures_util::stream::Stream;

pub(crate) use blob::refusal as blob_refusal;
pub(crate) use body::Body;
pub(crate) use route::{Method, Op, Query, Takes};

use crate::escrow::Escrow;
use crate::handle::Handle;
use crate::keys::CheckedKeys;
use crate::places::{Place, Places};
use crate::settings::Roles;

/// Time after which a refused caller may ask again, in seconds.
const RETRY_AFTER: u64 = 1;

/// Longest that a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes in pieces.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// An answer.
pub(crate) enum Answer {
    /// A status without a body.
    Bare(u16),
    /// An item.
    Item(u16, Vec<u8>, &'static Shape),
    /// Items as they arise.
    Items(Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>, &'static Shape),
    /// Bytes, with headers.
    Bytes(u16, Vec<(&'static str, String)>, Pieces),
}

impl Answer {
    fn item<T: Item>(status: u16, item: &T) -> Self {
        Self::Item(status, to_vec(item), &T::SHAPE)
    }
}

/// A refusal as it is answered.
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: RefusalBody,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// The peer of a direct session.
    Direct(NodeId),
    /// Somebody over the mix, with the header `authorization`, if it is there.
    OverMix(Option<Vec<u8>>),
    /// Somebody at the admin address: an operator. The signer of a record is its sender.
    Admin,
}

/// A request.
pub(crate) struct Asked {
    pub(crate) who: Who,
    /// Who is charged for what the request holds.
    pub(crate) charge: Option<ChargeTo>,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// The header `range`.
    pub(crate) range: Option<String>,
    /// The header `content-length`.
    pub(crate) length: Option<u64>,
    pub(crate) body: Body,
}

/// What answers requests.
pub(crate) struct Api {
    pub(crate) handle: Handle,
    pub(crate) roles: Roles,
    pub(crate) identity: Identity,
    pub(crate) keys: CheckedKeys,
    pub(crate) blobs: Blobs,
    pub(crate) logs: Logs,
    /// The nodes that are known to be nodes of the cluster, for a while.
    pub(crate) nodes: node::KnownNodes,
    /// The journal, once the coordinator has started.
    pub(crate) journal: OnceLock<Arc<dyn Journal>>,
    /// What pays for tasks, if something does.
    pub(crate) escrow: OnceLock<Arc<dyn Escrow>>,
    /// Submissions with a budget of the coordinator's own.
    pub(crate) under_way: budget::UnderWay,
    /// Memory for bodies.
    pub(crate) room: Room,
    /// Streams that are open.
    pub(crate) streams: Places,
}

/// A caller whose identity was verified, and how the request came.
#[derive(Clone, Debug)]
struct Verified {
    caller: Caller,
    way: Way,
    charge: Option<ChargeTo>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Direct,
    Mix,
    Admin,
}

impl Api {
    /// Answers a request, within a bound of time.
    pub(crate) async fn serve(self: &Arc<Self>, asked: Asked) -> Result<Answer, Refused> {
        let answered = self.served(asked).await;
        answered.map_err(|refusal| self.refused(refusal))
    }

    pub(crate) fn refused(&self, refusal: Refusal) -> Refused {
        let mut headers = Vec::new();
        if refusal.code.retry_after() {
            headers.push(("retry-after", RETRY_AFTER.to_string()));
        }
        if refusal.code == RefusalCode::NotLeader
            && let crate::Role::Follows(leader) = self.handle.role()
        {
            headers.push(("location", leader.into()));
        }
        Refused {
            status: refusal.code.status(),
            body: refusal.into(),
            headers,
        }
    }

    async fn served(self: &Arc<Self>, asked: Asked) -> Result<Answer, Refusal> {
        let Asked {
            who,
            charge,
            method,
            target,
            range,
            length,
            body,
        } = asked;
        let (op, query) = route::find(method, &target)?;
        if let Op::PutBlob(digest) = op {
            // The name of a blob is its body's hash.
            let by = self.verify(&who, charge, method, &target, Hashed::Is(&digest))?;
            return self.put_blob(&by, digest, length, body).await;
        }
        // It is given back once the request is answered.
        let part = self.room.part(charge);
        let mut part = part.ok_or(RefusalCode::Rate.bare())?;
        let body = body.read(op.body_max(), &mut part).await?;
        let by = self.verify(&who, charge, method, &target, Hashed::Of(&body))?;
        if let Op::AppendLog(task) = op {
            return self.append_log(&by, task, &query, body).await;
        }
        match op {
            Op::Join
            | Op::Describe(_)
            | Op::Leave(_)
            | Op::Beat(_)
            | Op::Work(_)
            | Op::State(_)
            | Op::Start(_)
            | Op::Nack(_)
            | Op::Done(_)
            | Op::IssueToken
            | Op::RevokeToken(_) => self.node(op, by, &query, &body).await,
            Op::ReadLog(task) => self.read_log(by, task, &query).await,
            Op::GetBlob(digest) => self.get_blob(&by, digest, range.as_deref()).await,
            Op::Status(_) | Op::Price | Op::Seed(_) => self.user(op, by, &query, &body).await,
            _ => {
                if !self.is_known(&by).await? {
                    return Err(RefusalCode::Role.bare());
                }
                self.user(op, by, &query, &body).await
            }
        }
    }

    /// Who asks, as far as it is proved.
    fn verify(
        &self,
        who: &Who,
        charge: Option<ChargeTo>,
        method: Method,
        target: &str,
        body: Hashed<'_>,
    ) -> Result<Verified, Refusal> {
        let (caller, way) = match who {
            Who::Direct(node) => (self.roles.of_node(*node), Way::Direct),
            Who::Admin => {
                let mut caller = crate::settings::itself(self.identity.public());
                caller.namespaces = self.roles.namespaces();
                (caller, Way::Admin)
            }
            // Whoever names nobody can read by TaskID.
            Who::OverMix(None) => (self.roles.of_node(NodeId([0; 20])), Way::Mix),
            Who::OverMix(Some(authorization)) => {
                let hash = match body {
                    Hashed::Of(bytes) => betanet_keys::hash(&[bytes]),
                    Hashed::Is(digest) => *digest,
                };
                let call = Call {
                    coordinator: self.identity.public(),
                    method: method.as_str(),
                    target,
                    body: &[],
                };
                let now_ms = self.handle.shared.clock.now().unix_ms;
                let key = call.verify_hashed(&hash, authorization, now_ms)?;
                (self.roles.of_key(&key), Way::Mix)
            }
        };
        Ok(Verified {
            caller,
            way,
            charge,
        })
    }

    /// Whether somebody is listed, or a node of the cluster.
    async fn is_known(&self, by: &Verified) -> Result<bool, Refusal> {
        let caller = &by.caller;
        if by.way == Way::Admin || caller.operator || !caller.namespaces.is_empty() {
            return Ok(true);
        }
        self.is_node(caller).await
    }

    /// A place for a stream.
    async fn place(&self, by: &Verified) -> Result<Place, Refusal> {
        let place = if self.is_known(by).await? {
            self.streams.known()
        } else {
            self.streams.stranger(by.charge)
        };
        place.ok_or(RefusalCode::Rate.bare())
    }

    async fn ask(&self, caller: Caller, request: Request) -> Result<Reply, Refusal> {
        in_time(self.handle.ask(caller, request)).await
    }

    /// Asks about a task or a job as its user. Above the level public, a user's requests come over the mix.
    async fn ask_as_user(
        &self,
        way: Way,
        caller: Caller,
        request: Request,
    ) -> Result<Reply, Refusal> {
        if way == Way::Direct && !caller.operator {
            in_time(self.handle.ask_directly(caller, request)).await
        } else {
            self.ask(caller, request).await
        }
    }

    /// Asks for something that is answered by a status alone.
    async fn order(&self, caller: Caller, request: Request) -> Result<Answer, Refusal> {
        status(&self.ask(caller, request).await?)
    }
}

impl Verified {
    /// The sender of a record that `signer` signed: at the admin address it is the signer, whose signature was verified.
    fn sends(mut self, api: &Api, signer: &PublicKey) -> Caller {
        if self.way == Way::Admin {
            let operator = self.caller.operator;
            self.caller = api.roles.of_key(signer);
            self.caller.operator = operator;
        }
        self.caller
    }

    /// Refuses a direct request about a task of a level that goes over the mix.
    fn may_ask_directly(&self, level: Level) -> Result<(), Refusal> {
        if self.way == Way::Mix || level == Level::Public {
            Ok(())
        } else {
            Err(RefusalCode::PrivacyRoute.of("level"))
        }
    }
}

/// The answer that is a status alone.
fn status(reply: &Reply) -> Result<Answer, Refusal> {
    match reply {
        Reply::Created => Ok(Answer::Bare(201)),
        Reply::Done => Ok(Answer::Bare(204)),
        _ => Err(odd()),
    }
}

/// Waits for the machine's answer. A journal that does not answer in time has no leader here.
pub(crate) async fn in_time(
    asked: impl Future<Output = Result<Reply, Refusal>>,
) -> Result<Reply, Refusal> {
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    answered.unwrap_or(Err(RefusalCode::NotLeader.bare()))
}

/// The refusal for an answer of the machine that is of another kind than the request.
pub(crate) fn odd() -> Refusal {
    tracing::error!("the coordinator's machine answered something else than it was asked");
    RefusalCode::NotLeader.bare()
}

/// The hash of a body.
enum Hashed<'a> {
    Of(&'a [u8]),
    Is(&'a [u8; 32]),
}
