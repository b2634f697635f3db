//! A coordinator with its panel, and a client of it over sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use betanet_auth::audit::Record;
use betanet_coordinator::Quota;
use betanet_economy_service::Ledger;
use betanet_fog::{Module, Signed, Task, Word};
use betanet_fog_client::testkit;
use betanet_fog_service::{Coordinator, Namespace, Role as Leads, Running, Settings, Stores};
use betanet_journal::MemoryStore;
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_panel::{JobFile, Panel, Parts, ReadJobs, Reading, Settings as PanelSettings, Source};
use betanet_runtime::{Gateway, GatewayConfig};
use betanet_store::State;
use betanet_wire::text::{unbase64url, unhex_array};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const PASSWORD: &str = "xK9!rQ2#vB7z";

/// A coordinator with its panel.
pub(crate) struct World {
    home: tempfile::TempDir,
    pub(crate) gateway: Arc<Gateway>,
    coordinator: Coordinator,
    running: Running,
    pub(crate) identity: Identity,
    pub(crate) panel: Option<Panel>,
    pub(crate) ledger: Option<Ledger>,
    rate_factor: u64,
    pub(crate) at: SocketAddr,
    pub(crate) code: String,
    /// Programs that the panel reads, from its next start on.
    pub(crate) sources: Vec<Source>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(": "));
        let own = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        own.map(|(_, v)| v).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The cookies that it sets, as a browser sends them.
    pub(crate) fn cookies(&self) -> String {
        let all = self.field("set-cookie").into_iter();
        let pairs: Vec<&str> = all.map(|c| c.split(';').next().unwrap()).collect();
        pairs.join("; ")
    }
}

/// Reads job files of a form of the tests: `NS NAME SHA256 SIZE`, and the name of each task in a line of its own.
struct Jobs(Identity);

impl ReadJobs for Jobs {
    fn read(
        &self,
        text: &str,
        _json: bool,
        reading: Reading,
        now_ms: u64,
        rng: &mut Rng,
    ) -> Result<JobFile, Vec<String>> {
        let wrong = || vec!["<b>no job</b>".to_owned()];
        if reading == Reading::Plan && text.contains("no-plan") {
            return Err(wrong());
        }
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [ns, name, digest, size] = head[..] else {
            return Err(wrong());
        };
        let ns: Word = ns.parse().map_err(|_| wrong())?;
        let module = Module {
            digest: unhex_array(digest).ok_or_else(wrong)?,
            size: size.parse().map_err(|_| wrong())?,
        };
        let task = |name: &str| {
            let task = task(&self.0, &ns, module.clone(), now_ms, rng.array());
            (name.to_owned(), Signed::sign(task, &self.0).unwrap())
        };
        let tasks = lines.map(task).collect();
        let name = name.parse().map_err(|_| wrong())?;
        Ok(JobFile { ns, name, tasks })
    }
}

fn task(owner: &Identity, ns: &Word, module: Module, now_ms: u64, nonce: [u8; 16]) -> Task {
    Task {
        ns: ns.clone(),
        nonce,
        module,
        ..testkit::task(owner, 0, now_ms)
    }
}

pub(crate) async fn world() -> World {
    over(&MemoryStore::new(), Quota::default(), 1).await
}

/// A world over a journal, where a namespace and each account may do so much.
pub(crate) async fn over(store: &MemoryStore, quota: Quota, rate_factor: u64) -> World {
    let home = tempfile::tempdir().unwrap();
    let identity = Identity::from_seed(&[1; 32]);
    let mut config = GatewayConfig::in_state(home.path().join("node"));
    config.listener.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let lab = Namespace {
        users: vec![*Identity::from_seed(&[2; 32]).public()],
        quota,
    };
    let settings = Settings {
        namespaces: [("lab".parse().unwrap(), lab)].into(),
        ..Settings::default()
    };
    let state = Arc::new(State::open(&home.path().join("fog")).unwrap());
    let stores = Stores::open(&state, 1 << 24).await.unwrap();
    let coordinator = Coordinator::new(identity.clone(), settings, stores);
    let gateway = Gateway::builder(identity.clone(), &config)
        .start()
        .await
        .unwrap();
    let journal = Arc::new(store.open("one"));
    let peer = gateway.listening().peer();
    let running = coordinator.start(&peer, journal).await.unwrap();
    let leads = |role: &Leads| matches!(role, Leads::Leads(_));
    running.handle().wait_for(leads).await;
    let mut world = World {
        home,
        gateway: Arc::new(gateway),
        coordinator,
        running,
        identity,
        panel: None,
        ledger: None,
        rate_factor,
        at: SocketAddr::from(([127, 0, 0, 1], 0)),
        code: String::new(),
        sources: Vec::new(),
    };
    world.start().await;
    world
}

/// Reads the answer of a connection that closes after it.
pub(crate) async fn answer(mut tcp: TcpStream) -> Answer {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    // A stream of events does not end.
    let is_stream = |all: &[u8]| String::from_utf8_lossy(all).contains("text/event-stream");
    loop {
        let n = tcp.read(&mut piece).await.unwrap_or(0);
        all.extend_from_slice(&piece[..n]);
        if n == 0 || is_stream(&all) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

impl World {
    pub(crate) async fn start(&mut self) {
        self.start_behind(&[], &[]).await;
    }

    /// Starts the panel under these names, behind these proxies.
    pub(crate) async fn start_behind(&mut self, hosts: &[&str], networks: &[&str]) {
        let own = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<String>>();
        let state = Arc::new(State::open(&self.home.path().join("panel")).unwrap());
        let sqlite = SqliteSettings {
            floor: 0,
            ..SqliteSettings::default()
        };
        let journal = SqliteJournal::open(&state, sqlite).unwrap();
        let settings = PanelSettings {
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            hosts: own(hosts),
            proxies: betanet_panel::proxies(&own(networks)).unwrap(),
            key: [7; 32],
            sources: self.sources.clone(),
            rate_factor: self.rate_factor,
        };
        let parts = Parts {
            journal: Arc::new(journal),
            files: state,
            coordinator: self.coordinator.local(),
            gateway: Arc::clone(&self.gateway),
            ledger: self.ledger.clone(),
            identity: self.identity.clone(),
            jobs: Arc::new(Jobs(self.identity.clone())),
        };
        let panel = Panel::start(settings, parts).await.unwrap();
        self.at = panel.address();
        let code = panel.first_code();
        self.code = code.map_or_else(String::new, |c| c.expose().to_owned());
        self.panel = Some(panel);
    }

    /// Sends the head of a request for a body of this length, and the beginning of the body. `fields` may replace the field `host`.
    pub(crate) async fn send(
        &self,
        (method, path): (&str, &str),
        fields: &[(&str, &str)],
        body: &str,
        length: usize,
    ) -> TcpStream {
        let mut tcp = TcpStream::connect(self.at).await.unwrap();
        let own = fields.iter().any(|(n, _)| *n == "host");
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !own {
            text += &format!("host: {}\r\n", self.at);
        }
        for (name, value) in fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {length}\r\n\r\n{body}");
        tcp.write_all(text.as_bytes()).await.unwrap();
        tcp
    }

    /// Sends a request, and reads its answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let tcp = self.send((method, path), fields, body, body.len()).await;
        answer(tcp).await
    }

    /// The coordinator, for requests of nodes and users in this process.
    pub(crate) fn handle(&self) -> &betanet_fog_service::Handle {
        self.running.handle()
    }

    /// The coordinator, as the panel asks it.
    pub(crate) fn local(&self) -> betanet_fog_service::Local {
        self.coordinator.local()
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Sends a form as a page of the site does.
    pub(crate) async fn form(&self, path: &str, cookie: &str, body: &str) -> Answer {
        let fields = [
            ("origin", &*self.origin()),
            ("cookie", cookie),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.ask("POST", path, &fields, body).await
    }

    /// Makes the first administrator. Returns the cookies and the form token.
    pub(crate) async fn admin(&self) -> (String, String) {
        let body = format!("code={}&name=root&password={PASSWORD}", self.code);
        let body = body.replace('#', "%23");
        let answer = self.form("/login/first", "", &body).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = answer.cookies();
        let token = self.form_token(&cookie).await;
        (cookie, token)
    }

    /// The form token of a session's pages.
    pub(crate) async fn form_token(&self, cookie: &str) -> String {
        let page = self
            .ask("GET", "/settings", &[("cookie", cookie)], "")
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        let (_, rest) = page
            .body
            .split_once("name=\"form_token\" value=\"")
            .unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// Logs a browser in. `known` is the cookies of an earlier login.
    pub(crate) async fn log_in(&self, name: &str, known: &str) -> String {
        let body = format!("name={name}&password={PASSWORD}").replace('#', "%23");
        let answer = self.form("/login", known, &body).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.cookies()
    }

    /// All records of the audit log.
    pub(crate) async fn records(&self, bearer: &str) -> Vec<Record> {
        let path = "/api/v1/audit?from=0&n=1000";
        let read = self.api("GET", path, bearer, &Value::Null).await.json();
        let items = read["items"].as_array().unwrap().iter();
        let bytes = items.map(|i| unbase64url(i["record"].as_str().unwrap()).unwrap());
        bytes.map(|b| Record::from_bytes(&b).unwrap()).collect()
    }

    pub(crate) async fn api(&self, method: &str, path: &str, bearer: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {bearer}");
        let fields = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
        ];
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.ask(method, path, &fields, &body).await
    }

    pub(crate) async fn access(&self, name: &str) -> (String, String) {
        let body = json!({"name": name, "password": PASSWORD}).to_string();
        let fields = [("content-type", "application/json")];
        let answer = self.ask("POST", "/api/v1/login", &fields, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let tokens = answer.json();
        let text = |key: &str| tokens[key].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    }
}
