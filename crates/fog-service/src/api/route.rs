//! Paths under `/fog/1`, as data: what is found by a request is what the OpenAPI document describes.

use betanet_fog::bodies::{
    Beat, BeatAnswer, Event, Join, JoinAnswer, LogAnswer, MarketView, Nack, NodeList, Plan, Price,
    SeedView, Start, StateRequest, Status, TaskList, TokenAnswer, TokenRequest, TopologyList,
    WorkItem,
};
use betanet_fog::{
    BODY_MAX, Digest, Envelope, Item as _, Order, Refusal, RefusalCode, Shape, TaskId, Tier, Word,
};
use betanet_keys::Name;
use betanet_wire::NodeId;

/// Prefix of all paths.
pub(crate) const PREFIX: &str = "/fog/1";

/// Longest piece of a log.
pub(crate) const LOG_PIECE: usize = 64 << 10;

/// A method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    /// As BAR writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DEL",
        }
    }
}

/// A request, with what its path names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Join,
    Describe(NodeId),
    Leave(NodeId),
    Beat(NodeId),
    Work(NodeId),
    State(NodeId),
    Start(TaskId),
    Nack(TaskId),
    Done(TaskId),
    AppendLog(TaskId),
    ReadLog(TaskId),
    IssueToken,
    RevokeToken([u8; 16]),
    Submit(TaskId),
    Status(TaskId),
    Cancel(TaskId),
    Plan,
    PutJob(Word, Word),
    GetJob(Word, Word),
    DeleteJob(Word, Word),
    Tasks,
    Dead,
    Nodes,
    Events,
    Topology,
    Price,
    Seed(u64),
    Market(Tier, u64),
    Commit,
    Reveal,
    PutBlob(Digest),
    GetBlob(Digest),
}

/// What an answer's body is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gives {
    /// Nothing.
    Nothing,
    /// One item.
    One(&'static Shape),
    /// A stream of items.
    Many(&'static Shape),
    /// Bytes.
    Bytes,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// Nothing.
    Nothing,
    /// An item.
    One(&'static Shape),
    /// Bytes.
    Bytes,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Segments after the prefix; those in braces are parameters.
    pub(crate) path: &'static str,
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
    /// Status of the first success.
    pub(crate) status: u16,
    /// Keys of the query.
    pub(crate) query: &'static [&'static str],
    pub(crate) about: &'static str,
}

const fn route(method: Method, path: &'static str, about: &'static str) -> Route {
    Route {
        method,
        path,
        takes: Takes::Nothing,
        gives: Gives::Nothing,
        status: 204,
        query: &[],
        about,
    }
}

impl Route {
    const fn takes(self, shape: &'static Shape) -> Self {
        Self {
            takes: Takes::One(shape),
            ..self
        }
    }

    const fn gives(self, status: u16, shape: &'static Shape) -> Self {
        Self {
            gives: Gives::One(shape),
            status,
            ..self
        }
    }

    const fn streams(self, shape: &'static Shape) -> Self {
        Self {
            gives: Gives::Many(shape),
            status: 200,
            query: &["after", "wait"],
            ..self
        }
    }

    const fn asked(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
}

const PAGE: &[&str] = &["ns", "state", "after", "n"];

/// All routes.
pub(crate) const ROUTES: &[Route] = &{
    use Method::{Delete, Get, Post, Put};
    [
        route(Post, "join", "A node joins by a token")
            .takes(&Join::SHAPE)
            .gives(201, &JoinAnswer::SHAPE),
        route(Put, "nodes/{node}", "A node describes itself anew").takes(&Envelope::SHAPE),
        route(
            Delete,
            "nodes/{node}",
            "A node leaves, or an operator removes it",
        ),
        route(Post, "nodes/{node}/beat", "A node says that it lives")
            .takes(&Beat::SHAPE)
            .gives(200, &BeatAnswer::SHAPE),
        route(
            Get,
            "nodes/{node}/work",
            "What a node is to run and to drop",
        )
        .streams(&WorkItem::SHAPE),
        route(
            Post,
            "nodes/{node}/state",
            "Drains a node, ends that, or puts it into maintenance",
        )
        .takes(&StateRequest::SHAPE),
        route(Post, "tasks/{task}/start", "A copy has started").takes(&Start::SHAPE),
        route(Post, "tasks/{task}/nack", "A node gives a copy back").takes(&Nack::SHAPE),
        route(Post, "tasks/{task}/done", "A node hands in a receipt").takes(&Envelope::SHAPE),
        Route {
            takes: Takes::Bytes,
            ..route(
                Post,
                "tasks/{task}/log",
                "A node appends to the log of a copy",
            )
        }
        .gives(200, &LogAnswer::SHAPE)
        .asked(&["fence", "off"]),
        Route {
            gives: Gives::Bytes,
            status: 200,
            ..route(
                Get,
                "tasks/{task}/log",
                "The log of a copy, by default of the newest",
            )
        }
        .asked(&["fence", "after", "wait"]),
        route(Post, "tokens", "An operator issues a join token")
            .takes(&TokenRequest::SHAPE)
            .gives(201, &TokenAnswer::SHAPE),
        route(Delete, "tokens/{token}", "An operator revokes a join token"),
        Route {
            status: 201,
            ..route(Put, "tasks/{task}", "A user submits a task").takes(&Envelope::SHAPE)
        },
        route(
            Get,
            "tasks/{task}",
            "Status of a task; with wait, also each change of it",
        )
        .gives(200, &Status::SHAPE)
        .asked(&["after", "wait"]),
        route(Delete, "tasks/{task}", "A user cancels a task"),
        route(Post, "plan", "Where a task would be placed, and its cost")
            .takes(&Envelope::SHAPE)
            .gives(200, &Plan::SHAPE),
        Route {
            status: 201,
            ..route(
                Put,
                "jobs/{ns}/{name}",
                "A user states a job's next version",
            )
            .takes(&Envelope::SHAPE)
        },
        route(Get, "jobs/{ns}/{name}", "A job's present version").gives(200, &Envelope::SHAPE),
        route(
            Delete,
            "jobs/{ns}/{name}",
            "A user removes a job: its tasks are cancelled",
        ),
        route(Get, "tasks", "Tasks, ascending by ID")
            .gives(200, &TaskList::SHAPE)
            .asked(PAGE),
        route(Get, "dead", "Failed tasks of the last 30 days")
            .gives(200, &TaskList::SHAPE)
            .asked(&["ns", "after", "n"]),
        route(Get, "nodes", "Nodes, ascending by ID")
            .gives(200, &NodeList::SHAPE)
            .asked(&["state", "after", "n"]),
        route(Get, "events", "What happened").streams(&Event::SHAPE),
        route(Get, "topology", "The cluster's last 100 counts").gives(200, &TopologyList::SHAPE),
        route(Get, "price", "Demand factors of resources").gives(200, &Price::SHAPE),
        route(Get, "seed/{day}", "A day's secret or its hash").gives(200, &SeedView::SHAPE),
        route(Get, "market/{tier}/{round}", "A round of the auction")
            .gives(200, &MarketView::SHAPE)
            .asked(&["after"]),
        route(Post, "market/commit", "A bidder commits to an order").takes(&Envelope::SHAPE),
        route(Post, "market/reveal", "A bidder reveals an order").takes(&Order::SHAPE),
        Route {
            takes: Takes::Bytes,
            status: 201,
            ..route(Put, "blob/{digest}", "Stores a blob under its SHA-256")
        },
        Route {
            gives: Gives::Bytes,
            status: 200,
            ..route(Get, "blob/{digest}", "A blob, in ranges too")
        },
    ]
};

impl Op {
    /// Longest body of the request.
    pub(crate) const fn body_max(&self) -> usize {
        match self {
            Self::AppendLog(_) => LOG_PIECE,
            _ => BODY_MAX,
        }
    }

    fn of(route: &Route, args: &[&str]) -> Option<Self> {
        let arg = |n: usize| args.get(n).copied();
        let node = || arg(0).and_then(node_id);
        let task = || arg(0).and_then(hex::<32>).map(TaskId);
        let word = |n: usize| arg(n)?.parse::<Word>().ok().filter(|w| !w.is_empty());
        use Method::{Delete, Get, Post, Put};
        Some(match (route.method, route.path) {
            (Post, "join") => Self::Join,
            (Put, "nodes/{node}") => Self::Describe(node()?),
            (Delete, "nodes/{node}") => Self::Leave(node()?),
            (Post, "nodes/{node}/beat") => Self::Beat(node()?),
            (Get, "nodes/{node}/work") => Self::Work(node()?),
            (Post, "nodes/{node}/state") => Self::State(node()?),
            (Post, "tasks/{task}/start") => Self::Start(task()?),
            (Post, "tasks/{task}/nack") => Self::Nack(task()?),
            (Post, "tasks/{task}/done") => Self::Done(task()?),
            (Post, "tasks/{task}/log") => Self::AppendLog(task()?),
            (Get, "tasks/{task}/log") => Self::ReadLog(task()?),
            (Post, "tokens") => Self::IssueToken,
            (Delete, "tokens/{token}") => Self::RevokeToken(arg(0).and_then(hex)?),
            (Put, "tasks/{task}") => Self::Submit(task()?),
            (Get, "tasks/{task}") => Self::Status(task()?),
            (Delete, "tasks/{task}") => Self::Cancel(task()?),
            (Post, "plan") => Self::Plan,
            (Put, "jobs/{ns}/{name}") => Self::PutJob(word(0)?, word(1)?),
            (Get, "jobs/{ns}/{name}") => Self::GetJob(word(0)?, word(1)?),
            (Delete, "jobs/{ns}/{name}") => Self::DeleteJob(word(0)?, word(1)?),
            (Get, "tasks") => Self::Tasks,
            (Get, "dead") => Self::Dead,
            (Get, "nodes") => Self::Nodes,
            (Get, "events") => Self::Events,
            (Get, "topology") => Self::Topology,
            (Get, "price") => Self::Price,
            (Get, "seed/{day}") => Self::Seed(arg(0)?.parse().ok()?),
            (Get, "market/{tier}/{round}") => {
                Self::Market(Tier::from_word(arg(0)?)?, arg(1)?.parse().ok()?)
            }
            (Post, "market/commit") => Self::Commit,
            (Post, "market/reveal") => Self::Reveal,
            (Put, "blob/{digest}") => Self::PutBlob(arg(0).and_then(hex)?),
            (Get, "blob/{digest}") => Self::GetBlob(arg(0).and_then(hex)?),
            _ => return None,
        })
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    betanet_wire::text::unhex_array(text)
}

/// A NodeID in hex, or a name.
fn node_id(text: &str) -> Option<NodeId> {
    let named = || text.parse::<Name>().ok().map(|n| n.node_id());
    hex(text).map(NodeId).or_else(named)
}

/// The pairs of a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn read(text: &str, allowed: &[&'static str]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !allowed.contains(&key) || pairs.iter().any(|(k, _)| k == key) {
                return Err(RefusalCode::Malformed.of("query"));
            }
            pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok(Self(pairs))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// A value, or `None` if it is not given.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        let value = read(text).ok_or(RefusalCode::Malformed.of(key))?;
        Ok(Some(value))
    }

    pub(crate) fn number(&self, key: &'static str) -> Result<Option<u64>, Refusal> {
        self.parsed(key, |text| text.parse().ok())
    }

    pub(crate) fn task(&self, key: &'static str) -> Result<Option<TaskId>, Refusal> {
        self.parsed(key, |text| hex(text).map(TaskId))
    }

    pub(crate) fn node(&self, key: &'static str) -> Result<Option<NodeId>, Refusal> {
        self.parsed(key, node_id)
    }

    pub(crate) fn digest(&self, key: &'static str) -> Result<Option<Digest>, Refusal> {
        self.parsed(key, hex)
    }

    /// A word of an enumeration.
    pub(crate) fn word<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        let value = read(text).ok_or(RefusalCode::BadValue.of(key))?;
        Ok(Some(value))
    }
}

/// Parameters of a path that a route has.
fn matched<'a>(route: &Route, path: &'a str) -> Option<Vec<&'a str>> {
    let mut args = Vec::new();
    let (mut given, mut wanted) = (path.split('/'), route.path.split('/'));
    loop {
        match (given.next(), wanted.next()) {
            (None, None) => return Some(args),
            (Some(arg), Some(name)) if name.starts_with('{') => args.push(arg),
            (Some(arg), Some(name)) if arg == name => {}
            _ => return None,
        }
    }
}

/// The route of a method and path, without the prefix.
pub(crate) fn of(method: Method, path: &str) -> Option<(&'static Route, Vec<&str>)> {
    // A fixed segment goes before a parameter.
    let mut fitting = ROUTES.iter().filter(|r| r.method == method);
    fitting.find_map(|r| Some((r, matched(r, path)?)))
}

/// The request of a method and target.
///
/// # Errors
///
/// `unknown` for a path that is none; `malformed` for another method, a bad parameter or query.
pub(crate) fn find(method: Method, target: &str) -> Result<(Op, Query), Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix(PREFIX).and_then(|p| p.strip_prefix('/'));
    let path = path.ok_or(RefusalCode::Unknown.of("path"))?;
    let Some((route, args)) = of(method, path) else {
        let known = ROUTES.iter().any(|r| matched(r, path).is_some());
        let code = if known {
            RefusalCode::Malformed.of("method")
        } else {
            RefusalCode::Unknown.of("path")
        };
        return Err(code);
    };
    let query = Query::read(query, route.query)?;
    let op = Op::of(route, &args).ok_or(RefusalCode::Malformed.of("path"))?;
    Ok((op, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_with_its_parameters() {
        let id = "07".repeat(20);
        let digest = "07".repeat(32);
        for route in ROUTES {
            let path = route
                .path
                .replace("{node}", &id)
                .replace("{task}", &digest)
                .replace("{digest}", &digest)
                .replace("{token}", &"07".repeat(16))
                .replace("{ns}", "lab")
                .replace("{name}", "night")
                .replace("{day}", "20000")
                .replace("{tier}", "gold")
                .replace("{round}", "5");
            let query: String = route.query.iter().map(|k| format!("{k}=1&")).collect();
            let target = format!("{PREFIX}/{path}?{query}");
            let (_, found) = find(route.method, &target).unwrap();
            assert_eq!(found.0.len(), route.query.len(), "{target}");
        }
        let market = find(Method::Get, "/fog/1/market/gold/5").unwrap().0;
        assert_eq!(market, Op::Market(Tier::Gold, 5));
        let commit = find(Method::Post, "/fog/1/market/commit").unwrap().0;
        assert_eq!(commit, Op::Commit);
    }

    #[test]
    fn what_is_no_route_is_refused_by_its_culprit() {
        let refused = |method, target: &str| find(method, target).unwrap_err();
        let unknown = RefusalCode::Unknown.of("path");
        for target in [
            "/fog/1",
            "/fog/1/",
            "/fog/2/nodes",
            "/fog/1/nodes/",
            "/fog/1/x",
        ] {
            let found = refused(Method::Get, target);
            assert!(
                found == unknown || found == RefusalCode::Malformed.of("method"),
                "{target}: {found}"
            );
        }
        let method = RefusalCode::Malformed.of("method");
        assert_eq!(refused(Method::Put, "/fog/1/nodes"), method);
        let path = RefusalCode::Malformed.of("path");
        assert_eq!(refused(Method::Get, "/fog/1/tasks/xyz"), path);
        assert_eq!(refused(Method::Get, "/fog/1/seed/-1"), path);
        let query = RefusalCode::Malformed.of("query");
        assert_eq!(refused(Method::Get, "/fog/1/nodes?color=red"), query);
        assert_eq!(refused(Method::Get, "/fog/1/nodes?n=1&n=2"), query);
        let (_, q) = find(Method::Get, "/fog/1/nodes?n=x").unwrap();
        assert_eq!(q.number("n"), Err(RefusalCode::Malformed.of("n")));
    }
}
