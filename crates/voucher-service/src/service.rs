//! A mint or redemption service, from its parts to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use betanet_durable::{Durable, Role, Settings as DurableSettings, Unavailable};
use betanet_economy_service::Remote;
use betanet_journal::Journal;
use betanet_keys::{Identity, Peer};
use betanet_runtime::Extension;
use betanet_session::{Clock, Room, Service, Streams};
use betanet_vouchers::mint::MintShares;
use betanet_vouchers::{Allowance, Denomination, Keyset, KeysetId, Keysets};
use tokio::sync::Semaphore;

use crate::Error;
use crate::allowed::{Allowed, SWAPS_A_DAY, over_mix, swaps_a_day, swaps_over_mix};
use crate::bar::BarService;
use crate::bridge::Bridge;
use crate::client::VoucherClient;
use crate::desk::Desk;
use crate::folder::MintFolder;
use crate::http::AdminFace;
use crate::keysets::Listed;
use crate::paid::LocalRedeem;
use crate::payments::{Coupons, Either, Payments, Swaps};
use crate::state::{Ask, Said, View, VoucherState};
use crate::stream::RedeemStreams;
use crate::watched::Watched;

/// Interval at which totals are counted, and keysets that are over are looked for.
const LOOK: Duration = Duration::from_secs(60);

/// Settings of a service.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What one address may ask for.
    pub allowance: Allowance,
    /// What all callers over the mix together may ask for.
    pub over_mix: Allowance,
    /// What one address may have swapped: vouchers and points. Swaps cost nothing, and are remembered for long.
    pub swaps: Allowance,
    /// What all callers over the mix together may have swapped.
    pub swaps_over_mix: Allowance,
    /// Requests whose arithmetic is done at once; 0 for one a processor.
    pub threads: usize,
    /// When snapshots are taken.
    pub journal: DurableSettings,
}

impl Default for Settings {
    fn default() -> Self {
        let one = Allowance::default();
        Self {
            allowance: one,
            over_mix: over_mix(one),
            swaps: SWAPS_A_DAY,
            swaps_over_mix: swaps_over_mix(SWAPS_A_DAY),
            threads: 0,
            journal: DurableSettings::default(),
        }
    }
}

impl Settings {
    /// These, with so many swaps a day for one address, of eight vouchers and points each on average.
    #[must_use]
    pub fn with_swaps_a_day(mut self, swaps: u32) -> Self {
        self.swaps = swaps_a_day(swaps);
        self.swaps_over_mix = swaps_over_mix(self.swaps);
        self
    }
}

/// The mint and redemption service of one node. Until it is started, its requests are answered with 503.
pub struct VoucherService {
    desk: Arc<Desk>,
    settings: Settings,
}

impl std::fmt::Debug for VoucherService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoucherService").finish_non_exhaustive()
    }
}

impl VoucherService {
    /// Creates a service with the key that its node has. It takes swaps and coupons as payment.
    ///
    /// # Errors
    ///
    /// Keysets that cannot stand beside each other, shares that are not of theirs, or coupons of a keyset of which no majority of
    /// mints signs.
    pub fn new(
        identity: Identity,
        folders: Vec<MintFolder>,
        settings: Settings,
    ) -> Result<Self, Error> {
        let mut coupons = Coupons::default();
        for folder in &folders {
            if let Some(issuer) = folder.issuer {
                let keyset = &folder.keyset;
                if !folder.shares.is_empty() && !keyset.tolerates(0) {
                    return Err(Error::Threshold {
                        keyset: keyset.id(),
                        t: keyset.threshold(),
                        n: keyset.shares(),
                    });
                }
                coupons = coupons.with(folder.keyset.id(), issuer);
            }
        }
        Self::with_payments(identity, folders, settings, Either(coupons, Swaps))
    }

    /// Creates a service that takes other payments.
    ///
    /// # Errors
    ///
    /// See [`VoucherService::new`].
    pub fn with_payments(
        identity: Identity,
        folders: Vec<MintFolder>,
        settings: Settings,
        payments: impl Payments,
    ) -> Result<Self, Error> {
        let (mut keysets, mut mints) = (Keysets::default(), BTreeMap::new());
        let mut shares = MintShares::default();
        for folder in folders {
            let keyset = folder.keyset;
            let id = keyset.id();
            let index = folder.shares.first().map(|s| s.index());
            match index {
                Some(index) => {
                    let one = folder.shares.iter().all(|s| s.index() == index);
                    let n = folder.shares.len();
                    let all = n == keyset.denominations().count();
                    if !one || !all || !shares.add(&keyset, folder.shares) {
                        return Err(Error::Shares(id));
                    }
                    no_overlap(&keyset, &keysets, &mints)?;
                    mints.insert(id, index);
                }
                None if keyset.spender() != identity.public() => return Err(Error::NoRole(id)),
                None => {}
            }
            keysets
                .add(keyset)
                .map_err(|why| Error::Keyset { id, why })?;
        }
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let desk = Desk {
            identity,
            clock: Clock::start(),
            keysets: Arc::new(keysets),
            mints,
            shares,
            payments: Box::new(payments),
            handle: OnceLock::new(),
            limits: Allowed::new(settings.allowance, settings.over_mix),
            swaps: Allowed::new(settings.swaps, settings.swaps_over_mix),
            room: Room::standard(),
            arithmetic: Arc::new(Semaphore::new(threads)),
            counted: Default::default(),
            listed: Listed::default(),
            alarm: Default::default(),
            seen: Mutex::default(),
            watched: OnceLock::new(),
            reported: Mutex::default(),
            bridge: OnceLock::new(),
        };
        Ok(Self {
            desk: Arc::new(desk),
            settings,
        })
    }

    /// The service for [`crate::PREFIX`].
    #[must_use]
    pub fn service(&self) -> impl Service + use<> {
        BarService(Arc::clone(&self.desk))
    }

    /// The handler of streams of type [`betanet_session::StreamType::REDEEM`].
    #[must_use]
    pub fn streams(&self) -> impl Streams + use<> {
        RedeemStreams(Arc::clone(&self.desk))
    }

    /// Its page at the admin address, its metrics and its health.
    #[must_use]
    pub fn extension(&self) -> Arc<dyn Extension> {
        Arc::new(AdminFace(Arc::clone(&self.desk)))
    }

    /// Redeems vouchers here to the balance of this node: for [`crate::Paid`] on the node that keeps the spent set.
    #[must_use]
    pub fn redeemer(&self) -> LocalRedeem {
        LocalRedeem::new(Arc::clone(&self.desk))
    }

    /// Has other mints asked, each minute, how many points they signed. More redeemed here than their counts allow raises the alarm.
    /// The client dials as this node: mints tell their counts to the keyset's spender alone.
    ///
    /// # Errors
    ///
    /// The mints were named before.
    pub fn watch(&self, client: VoucherClient, mints: Vec<Peer>) -> Result<(), Error> {
        let set = self.desk.watched.set(Watched { client, mints });
        set.map_err(|_| Error::Started)
    }

    /// Connects the service to a ledger, before it is started. Keysets of the unit [`crate::LEDGER_UNIT`] belong to the ledger then: their
    /// vouchers are issued for purchases that a final head proves, never for coupons, and redeemed to the ledger's accounts.
    ///
    /// # Errors
    ///
    /// A ledger was named before, or the service was started.
    pub fn connect_ledger(&self, ledger: Remote) -> Result<(), Error> {
        if self.desk.handle.get().is_some() {
            return Err(Error::Started);
        }
        let set = self.desk.bridge.set(Bridge::new(ledger));
        set.map_err(|_| Error::Started)
    }

    /// The keysets of this node.
    #[must_use]
    pub fn keysets(&self) -> &Keysets {
        &self.desk.keysets
    }

    /// Reads the journal and begins to follow or to lead.
    ///
    /// # Errors
    ///
    /// The journal is damaged or of another version, or the service was started already.
    pub async fn start(&self, journal: Arc<dyn Journal>) -> Result<Running, Error> {
        if self.desk.handle.get().is_some() {
            return Err(Error::Started);
        }
        let of = self.desk.of();
        let new = move || VoucherState::new(of.clone());
        let durable = Durable::start(journal, self.settings.journal, new).await?;
        if self.desk.handle.set(durable.handle()).is_err() {
            return Err(Error::Started);
        }
        let desk = Arc::downgrade(&self.desk);
        let looking = tokio::spawn(async move {
            loop {
                let Some(now) = desk.upgrade() else { return };
                // One that does not lead counts nothing.
                let _ = now.ask(Ask::Sweep).await;
                let _ = now.view().await;
                let _ = now.compare().await;
                drop(now);
                tokio::time::sleep(LOOK).await;
            }
        });
        let pays_out = self.desk.spends() && self.desk.bridge.get().is_some();
        let paying = pays_out.then(|| {
            let paying = tokio::spawn(crate::payout::run(Arc::downgrade(&self.desk)));
            paying.abort_handle()
        });
        Ok(Running {
            desk: Arc::clone(&self.desk),
            durable: Some(durable),
            looking: looking.abort_handle(),
            paying,
        })
    }
}

/// Refuses two keysets of one unit that are active at the same time on one mint.
fn no_overlap(
    keyset: &Keyset,
    others: &Keysets,
    mints: &BTreeMap<KeysetId, u8>,
) -> Result<(), Error> {
    let mut own = others.iter().filter(|k| mints.contains_key(&k.id()));
    let overlaps = own.find(|other| {
        other.unit() == keyset.unit()
            && other.not_before() < keyset.exp()
            && keyset.not_before() < other.exp()
    });
    match overlaps {
        Some(other) => Err(Error::Overlap(other.id(), keyset.id())),
        None => Ok(()),
    }
}

/// A service that runs. Dropped, it stops without a farewell, as by a crash.
pub struct Running {
    desk: Arc<Desk>,
    durable: Option<Durable<VoucherState>>,
    looking: tokio::task::AbortHandle,
    paying: Option<tokio::task::AbortHandle>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Running").field(&self.role()).finish()
    }
}

impl Running {
    /// What the state does now.
    #[must_use]
    pub fn role(&self) -> Role {
        let handle = self.desk.handle.get();
        handle.map_or(Role::Starting, |handle| handle.role())
    }

    /// Waits until the state leads, so that requests are answered.
    pub async fn leads(&self) {
        if let Some(handle) = self.desk.handle.get() {
            handle.wait_for(|role| matches!(role, Role::Leads(_))).await;
        }
    }

    /// Totals.
    ///
    /// # Errors
    ///
    /// The state does not lead.
    pub async fn view(&self) -> Result<View, Unavailable> {
        self.desk.view().await.map_err(|_| Unavailable)
    }

    /// Counts what mints report to have issued for payments other than swaps. From the first report of a keyset on, more redeemed
    /// than issued raises the alarm. Returns whether it was counted. A node that alone must sign every voucher counts by itself.
    ///
    /// # Errors
    ///
    /// The state does not lead.
    pub async fn issued(
        &self,
        keyset: KeysetId,
        counts: Vec<(Denomination, u64)>,
    ) -> Result<bool, Unavailable> {
        match self.desk.ask(Ask::Issued(keyset, counts)).await {
            Ok(Said::Counted(counted)) => Ok(counted),
            _ => Err(Unavailable),
        }
    }

    /// Asks the mints of [`VoucherService::watch`] now.
    ///
    /// # Errors
    ///
    /// The state does not lead.
    pub async fn compare(&self) -> Result<(), Unavailable> {
        self.desk.compare().await.map_err(|_| Unavailable)
    }

    /// A hash over the durable state: equal for equal states.
    ///
    /// # Errors
    ///
    /// The state does not lead.
    pub async fn fingerprint(&self) -> Result<[u8; 32], Unavailable> {
        match self.desk.ask(Ask::Fingerprint).await {
            Ok(Said::Fingerprint(hash)) => Ok(hash),
            _ => Err(Unavailable),
        }
    }

    fn abort(&self) {
        self.looking.abort();
        if let Some(paying) = &self.paying {
            paying.abort();
        }
    }

    /// Commits what was decided, gives the lease back, and ends.
    pub async fn stop(mut self) {
        self.abort();
        if let Some(durable) = self.durable.take() {
            durable.stop().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn coupons_need_a_majority_of_the_mints() {
        use betanet_vouchers::testkit::World;
        for (t, n, good) in [(1, 2, false), (2, 4, false), (1, 1, true), (3, 4, true)] {
            let world = World::new(60, t, n, &[0]);
            let folder = |issuer| MintFolder {
                keyset: world.keyset().clone(),
                shares: world.of_mint(1).to_vec(),
                issuer,
            };
            let issuer = Some(*Identity::from_seed(&[2; 32]).public());
            let service = |issuer| {
                let me = Identity::from_seed(&[1; 32]);
                VoucherService::new(me, vec![folder(issuer)], Settings::default())
            };
            assert!(service(None).is_ok(), "{t} of {n} without coupons");
            match service(issuer) {
                Ok(_) => assert!(good, "{t} of {n}"),
                Err(error) => assert!(
                    !good && matches!(error, Error::Threshold { .. }),
                    "{t} of {n}: {error}"
                ),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn arithmetic_is_done_for_as_many_requests_at_once_as_there_are_threads_for_it() {
        let settings = Settings {
            threads: 2,
            ..Settings::default()
        };
        let me = Identity::from_seed(&[1; 32]);
        let service = VoucherService::new(me, Vec::new(), settings).unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let desk = Arc::clone(&service.desk);
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            all.spawn(async move {
                let work = move |_: &Desk| {
                    let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(at_once, Ordering::SeqCst);
                    // Long enough for others to come in beside it, if they could.
                    (0..200).for_each(|_| std::thread::yield_now());
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                desk.work(work).await
            });
        }
        assert_eq!(all.join_all().await, vec![Ok(()); 16]);
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}
