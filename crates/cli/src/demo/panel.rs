//! `betanet demo --panel`: a coordinator with its panel, filled by the seed, until Ctrl-C.

use std::path::Path;
use std::sync::Arc;

use betanet_economy_service::{EconomyService, Settings as LedgerSettings};
use betanet_fog_service::{Coordinator, Namespace, PREFIX, Role, Running, Settings, Stores};
use betanet_journal::Journal;
use betanet_journal_sqlite::SqliteJournal;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_panel::Panel;
use betanet_runtime::{Clock, Gateway, GatewayConfig, seed};
use betanet_store::{State, Storage};
use betanet_wire::text::base64url;
use hyper::{Method, StatusCode};
use serde_json::json;
use zeroize::Zeroizing;

use super::failed;
use crate::Fail;
use crate::args::PanelArgs;
use crate::coordinator::panel;
use crate::fail::chain;
use crate::panel_api::{ANSWER_MAX, Api, Body};
use crate::seed::{Cast, Planted, Wanted, history, plant_in};
use crate::stop::Stops;

/// Name of the administrator, and the namespace of the tasks.
const NAME: &str = "demo";
/// How much the seed makes.
const DEVICES: u32 = 100;
const MIXNODES: u32 = 15;
const TASKS: u32 = 50;
/// Sessions from the one address of all nodes.
const SESSIONS: usize = 256;

/// A coordinator with a panel and simulated nodes.
struct Shown {
    gateway: Arc<Gateway>,
    running: Running,
    panel: Panel,
    planted: Planted,
    books: betanet_economy_service::Running,
    password: Zeroizing<String>,
}

pub(super) async fn run(as_json: bool) -> Result<(), Fail> {
    let mut stops = Stops::listen();
    let home = tempfile::tempdir().map_err(|e| Fail::Local(format!("temporary folder: {e}")))?;
    let shown = tokio::select! {
        shown = start(home.path()) => shown?,
        stop = stops.told() => return Err(Fail::Stopped(stop)),
    };
    let (origin, password) = (shown.panel.origin(), &*shown.password);
    if as_json {
        let facts = json!({"panel": format!("{origin}/"), "name": NAME, "password": password});
        say!("{facts}");
    } else {
        say!("panel     {origin}/");
        say!("name      {NAME}");
        say!("password  {password}");
        note!(
            "{DEVICES} simulated devices, {MIXNODES} simulated mixnodes, {TASKS} simulated tasks and a simulated ledger; all of it ends with Ctrl-C"
        );
    }
    let _ = stops.told().await;
    shown.stop().await;
    home.close()
        .map_err(|e| Fail::Local(format!("temporary folder: {e}")))
}

fn local(error: &(dyn std::error::Error + 'static)) -> Fail {
    Fail::Local(chain(error))
}

async fn start(home: &Path) -> Result<Shown, Fail> {
    let mut rng = Rng::new(&seed()?);
    let [me, owner, second] = [(); 3].map(|()| Identity::from_seed(&rng.array::<32>()));
    let place = home.join("ledger");
    let (ledger, books) = simulated(&place, [me.clone(), second], &mut rng).await?;
    let mut config = GatewayConfig::in_state(home.join("coordinator"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    config.limits.per_address = Some(SESSIONS);
    let state = State::open(&config.state()).map_err(|e| local(&e))?;
    let state = Arc::new(state);
    // A namespace without a user takes no tasks.
    let namespace = Namespace {
        users: vec![*owner.public()],
        ..Namespace::default()
    };
    let settings = Settings {
        namespaces: [(NAME.parse().unwrap_or_default(), namespace)].into(),
        ..Settings::default()
    };
    let stores = Stores::open(&state, 1 << 24).await;
    let stores = stores.map_err(|e| local(&e))?;
    let coordinator = Coordinator::new(me.clone(), settings, stores);
    let gateway = Gateway::builder(me.clone(), &config)
        .with_storage(Arc::clone(&state) as Arc<dyn Storage>)
        .service(PREFIX, coordinator.service())
        .extension(coordinator.extension())
        .service(betanet_economy_service::PREFIX, ledger.service())
        .extension(ledger.extension())
        .start()
        .await?;
    let gateway = Arc::new(gateway);
    let books = ledger.start(books).await.map_err(|e| local(&e))?;
    books.leads().await;
    let journal = SqliteJournal::open(&state, Default::default());
    let journal = journal.map_err(|e| local(&e))?;
    let peer = gateway.listening().peer();
    let running = coordinator.start(&peer, Arc::new(journal)).await;
    let running = running.map_err(|e| local(&e))?;
    let leads = |role: &Role| matches!(role, Role::Leads(_));
    running.handle().wait_for(leads).await;
    let address = PanelArgs {
        panel_source: Vec::new(),
        panel: Some(([127, 0, 0, 1], 0).into()),
        panel_host: Vec::new(),
        panel_proxy: Vec::new(),
        panel_rate_factor: 1,
    };
    let settings = panel::settings(&address)?.ok_or_else(|| failed("no panel"))?;
    let place = (config.state(), None, me);
    let panel = panel::start(
        settings,
        (&coordinator, &gateway, Some(ledger.ledger())),
        place,
    )
    .await?;
    let password = Zeroizing::new(base64url(&rng.array::<18>()));
    let api = administrator(&panel, &password).await?;
    let wanted = Wanted {
        ns: NAME.to_owned(),
        devices: DEVICES,
        mixnodes: MIXNODES,
        tasks: TASKS,
    };
    let planted = plant_in(&home.join("seed"), &api, &wanted).await?;
    Ok(Shown {
        gateway,
        running,
        panel,
        planted,
        books,
        password,
    })
}

/// A ledger that is not started, and its journal with a simulated past. Its signers' keys are this process's.
async fn simulated(
    folder: &Path,
    officers: [Identity; 2],
    rng: &mut Rng,
) -> Result<(EconomyService, Arc<dyn Journal>), Fail> {
    let cast = Cast::with(officers, rng);
    let past = history(&cast, Clock::start().now().unix_ms)?;
    let service = || {
        let mut settings = LedgerSettings::new(past.genesis.clone());
        settings.signers = cast.officers.to_vec();
        let [me, _] = &cast.officers;
        EconomyService::new(me.clone(), settings).map_err(|e| local(&e))
    };
    let journal = crate::journal::open(folder, "demo")?;
    let filled = service()?.restore(Arc::clone(&journal), &past.records, past.head.clone());
    filled.await.map_err(|e| local(&e))?;
    Ok((service()?, journal))
}

/// Makes the first administrator as a browser would, by the one-time code, and logs a program in as it.
async fn administrator(panel: &Panel, password: &str) -> Result<Api, Fail> {
    let api = Api::new(panel.origin(), "", ANSWER_MAX)?;
    let code = panel.first_code().ok_or_else(|| failed("no code"))?;
    let form = format!("code={}&name={NAME}&password={password}", code.expose());
    let form = Body::Form(Zeroizing::new(form));
    let made = api.send(Method::POST, "/login/first", form).await?;
    if made.status != StatusCode::SEE_OTHER {
        return Err(failed(format!("the first administrator: {}", made.status)));
    }
    let login = json!({"name": NAME, "password": password});
    let answer = api.ask(Method::POST, "/api/v1/login", Body::Json(login));
    let answer = answer.await?;
    let token = answer["access_token"].as_str();
    Api::new(panel.origin(), token.unwrap_or_default(), ANSWER_MAX)
}

impl Shown {
    async fn stop(self) {
        self.planted.stop().await;
        self.panel.stop().await;
        self.running.stop().await;
        self.books.stop().await;
        self.gateway.shutdown().await;
    }
}
