//! A redemption service that is killed while 50 customers redeem and swap, with vouchers of their own and with the same ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use betanet_machine::{Rng, Seed};
use betanet_vouchers::{Denomination, Voucher};
use betanet_wire::Code;
use tokio::task::JoinSet;

use crate::clients::{Client, Counted, Sent};
use crate::shop::{Shop, Totals};
use crate::size;

/// Customers at once.
const CLIENTS: u64 = 50;
/// Units that each buys.
const MEANS: u64 = 1 << 14;

/// Kills the gateway at random moments until it is dropped, and compares the totals in between.
struct Killer {
    ends: Arc<AtomicBool>,
    kills: Arc<AtomicU64>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Killer {
    /// Kills it about every so many requests. From the purchases on, `bought` is the sum of balances and unspent vouchers.
    fn start(
        shop: &Arc<Shop>,
        counted: &Arc<Counted>,
        mut rng: Rng,
        every: u64,
        bought: Option<u64>,
    ) -> Self {
        let (ends, kills) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (shop, counted) = (Arc::clone(shop), Arc::clone(counted));
        let (end, killed) = (Arc::clone(&ends), Arc::clone(&kills));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::SeqCst) {
                let at = counted.sent.load(Ordering::SeqCst) + 1 + rng.below(2 * every);
                while counted.sent.load(Ordering::SeqCst) < at && !end.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Somewhere within the requests that are under way.
                tokio::time::sleep(Duration::from_micros(rng.below(8_000))).await;
                let shop = Arc::clone(&shop);
                let totals = tokio::task::spawn_blocking(move || {
                    let before = shop.totals();
                    shop.crash();
                    [before, shop.totals()]
                });
                for totals in totals.await.unwrap() {
                    assert!(bought.is_none_or(|sum| holds(&totals, sum)), "{totals:?}");
                }
                killed.fetch_add(1, Ordering::SeqCst);
            }
        });
        let task = Some(task);
        Self { ends, kills, task }
    }

    async fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
        self.kills.load(Ordering::SeqCst)
    }
}

fn holds(totals: &Totals, bought: u64) -> bool {
    totals.balances + totals.unspent() == bought
}

/// Lets every customer do something at the same time as the others.
async fn all<F>(clients: Vec<Client>, work: impl Fn(Client) -> F) -> Vec<Client>
where
    F: Future<Output = Client> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(work(client));
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_nothing_spent_twice_while_the_gateway_is_killed() {
    let (operations, seed) = (size("OPERATIONS", 250), size("SEED", 31));
    let mut rng = Rng::new(&Seed::from_number(seed));
    let shop = Arc::new(Shop::start(14, &mut rng));
    let counted = Arc::new(Counted::default());
    let new = |number| {
        let rng = Rng::new(&rng.seed());
        Client::new(Arc::clone(&shop), Arc::clone(&counted), number, rng)
    };
    let mut clients: Vec<Client> = (0..=CLIENTS as u8).map(new).collect();
    let mut giver = clients.pop().unwrap();
    // About as many kills as a fiftieth of the operations.
    let every = 75;

    // Purchases, then redemptions and swaps.
    let killer = Killer::start(&shop, &counted, Rng::new(&rng.seed()), every, None);
    clients = all(clients, |mut client| async move {
        client.buy(&[Denomination::new(11).unwrap(); 8]).await;
        client
    })
    .await;
    let mut kills = killer.end().await;
    let mut bought = CLIENTS * MEANS;
    let killer = Killer::start(&shop, &counted, Rng::new(&rng.seed()), every, Some(bought));
    let each = operations.div_ceil(CLIENTS);
    clients = all(clients, move |mut client| async move {
        for _ in 0..each {
            client.operate().await;
        }
        client
    })
    .await;
    kills += killer.end().await;
    assert_eq!(counted.done.load(Ordering::SeqCst), each * CLIENTS);
    let own = (counted.done.load(Ordering::SeqCst), kills);

    // The same vouchers for all: half of the customers redeem them, half swap them.
    let shared = (operations / 250).clamp(4, 40);
    let unit = Denomination::new(0).unwrap();
    giver.buy(&vec![unit; shared as usize]).await;
    let vouchers = Arc::new(giver.unspent);
    bought += shared;
    let killer = Killer::start(&shop, &counted, Rng::new(&rng.seed()), every, Some(bought));
    let won = Arc::new((0..shared).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
    clients = all(clients, |client| {
        compete(client, Arc::clone(&vouchers), Arc::clone(&won))
    })
    .await;
    kills += killer.end().await;
    assert!(won.iter().all(|n| n.load(Ordering::SeqCst) == 1), "{won:?}");

    // Each customer and the service agree on every voucher.
    let (mut unspent, mut balances) = (0, 0);
    for client in &mut clients {
        unspent += client.checked().await;
        balances += client.redeemed;
    }
    let totals = shop.totals();
    assert_eq!((totals.unspent(), totals.balances), (unspent, balances));
    assert_eq!(unspent + balances, bought);
    let of = |n: &AtomicU64| n.load(Ordering::SeqCst);
    println!(
        "service: {} redemptions and swaps, {} kills, {} with the same {shared} vouchers; {} requests, {} repeated without an \
         answer, {} attempts to spend again; balances {balances} + unspent {unspent} = issued {bought}",
        own.0,
        kills,
        CLIENTS * shared,
        of(&counted.sent),
        of(&counted.retries),
        of(&counted.probes),
    );
    assert!(kills >= operations / 100, "{kills} kills");
}

/// Tries to get every one of these vouchers. Then asks the same again.
async fn compete(
    mut client: Client,
    vouchers: Arc<Vec<Voucher>>,
    won: Arc<Vec<AtomicU64>>,
) -> Client {
    let mut order: Vec<usize> = (0..vouchers.len()).collect();
    for at in (1..order.len()).rev() {
        let with = client.rng.below(at as u64 + 1) as usize;
        order.swap(at, with);
    }
    let unit = Denomination::new(0).unwrap();
    let mut sent: Vec<(Sent, bool)> = Vec::new();
    for at in order {
        let voucher = std::slice::from_ref(&vouchers[at]);
        let one = match client.rng.below(2) {
            0 => client.redemption(voucher),
            _ => client.exchange(voucher, &[unit]),
        };
        let codes = client.send(&one).await;
        let is_mine = codes == [Code::OK];
        assert!(is_mine || codes == [Code::VOUCHER_SPENT], "{codes:?}");
        won[at].fetch_add(u64::from(is_mine), Ordering::SeqCst);
        sent.push((one, is_mine));
    }
    for (one, is_mine) in &sent {
        assert_eq!(client.repeat(one).await.is_ok(), *is_mine);
    }
    client
}
