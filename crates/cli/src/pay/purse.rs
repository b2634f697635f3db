//! A wallet in a folder, with the keysets that it knows and the addresses of their mints.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use betanet_keys::Name;
use betanet_machine::Rng;
use betanet_runtime::{Clock, Peer, seed};
use betanet_store::{Kind, State, Storage, disk};
use betanet_vouchers::wallet::{Cost, Phrase, Wallet, WalletKey};
use betanet_vouchers::{Keyset, KeysetId, Keysets, Phase};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Fail;
use crate::args::WalletArgs;
use crate::fail::chain;

const WALLET: Kind = Kind::new("wallet", 1);
const KEYSETS: Kind = Kind::new("keysets", 1);
const PROVEN: Kind = Kind::new("proven", 1);

/// Most keysets of which it is kept since when a ledger proves them; the one that was proven first goes first.
const PROVEN_MAX: usize = 256;

/// Longest password that is read, in bytes.
const PASSWORD_MAX: u64 = 1024;

/// Time for which another command that holds the wallet is waited for.
const TURN: Duration = Duration::from_secs(5);

/// A mint: its name, and its address if it was given.
pub(super) type Mint = (Name, Option<Peer>);

/// A keyset on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    keyset: String,
    /// The keys of its refreshed shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    mints: Vec<String>,
}

/// An open wallet.
pub(super) struct Purse {
    state: State,
    key: WalletKey,
    pub(super) wallet: Wallet,
    pub(super) keysets: Keysets,
    pub(super) mints: BTreeMap<KeysetId, Vec<String>>,
    pub(super) rng: Rng,
}

pub(super) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

fn rng() -> Result<Rng, Fail> {
    let seed = seed().map_err(|e| Fail::Local(chain(&e)))?;
    Ok(Rng::new(&seed))
}

/// The password of a wallet.
fn password(args: &WalletArgs) -> Result<Zeroizing<Vec<u8>>, Fail> {
    let Some(file) = &args.password_file else {
        let password = std::env::var("BETANET_WALLET_PASSWORD").unwrap_or_default();
        if password.is_empty() {
            let why = "no password is given: --password-file FILE, or the variable BETANET_WALLET_PASSWORD";
            return Err(Fail::Usage(why.to_owned()));
        }
        return Ok(Zeroizing::new(password.into_bytes()));
    };
    let text = disk::read_bounded(file, PASSWORD_MAX).map_err(Fail::file(file))?;
    let text = Zeroizing::new(text);
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        let why = "the first line is empty: it is the wallet's password";
        return Err(Fail::Usage(format!("{}: {why}", file.display())));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

fn hold(folder: &Path) -> Result<State, Fail> {
    State::open_within(folder, TURN).map_err(|e| Fail::Local(chain(&e)))
}

impl Purse {
    /// Makes an empty wallet of a phrase in a folder that has none.
    pub(super) fn create(args: &WalletArgs, phrase: &Phrase) -> Result<Self, Fail> {
        let mut purse = Self::begin(args, phrase)?;
        purse.save()?;
        Ok(purse)
    }

    /// The same, and nothing of the wallet is on disk yet.
    pub(super) fn begin(args: &WalletArgs, phrase: &Phrase) -> Result<Self, Fail> {
        let mut rng = rng()?;
        let key = WalletKey::new(&password(args)?, Cost::default(), &mut rng);
        let key = key.map_err(|e| Fail::Local(e.to_string()))?;
        Self::of(args, Wallet::new(phrase, ""), key, rng)
    }

    /// Takes over the copy of a wallet, in a folder that has none. Nothing is on disk yet.
    pub(super) fn adopt(args: &WalletArgs, copy: &Path, bytes: &[u8]) -> Result<Self, Fail> {
        let opened = Wallet::from_bytes(bytes, &password(args)?);
        let (wallet, key) = opened.map_err(|e| Fail::Local(format!("{}: {e}", copy.display())))?;
        Self::of(args, wallet, key, rng()?)
    }

    fn of(args: &WalletArgs, wallet: Wallet, key: WalletKey, rng: Rng) -> Result<Self, Fail> {
        let state = hold(&args.wallet)?;
        let found = state.load(WALLET, "wallet");
        if found.map_err(|e| Fail::Local(chain(&e)))?.is_some() {
            let why = "a wallet is there already; name another folder";
            return Err(Fail::Usage(format!("{}: {why}", args.wallet.display())));
        }
        Ok(Self {
            state,
            key,
            wallet,
            keysets: Keysets::default(),
            mints: BTreeMap::new(),
            rng,
        })
    }

    /// Opens the wallet of a folder.
    pub(super) fn open(args: &WalletArgs) -> Result<Self, Fail> {
        let password = password(args)?;
        let shown = args.wallet.display();
        if !args.wallet.is_dir() {
            return Err(Fail::Local(format!(
                "{shown}: no wallet is there: betanet pay new makes one"
            )));
        }
        let state = hold(&args.wallet)?;
        let local = |e: betanet_store::Error| Fail::Local(chain(&e));
        let Some(file) = state.load(WALLET, "wallet").map_err(local)? else {
            return Err(Fail::Local(format!(
                "{shown}: no wallet is there: betanet pay new makes one"
            )));
        };
        let opened = Wallet::from_bytes(&file.bytes, &password);
        let (wallet, key) = opened.map_err(|e| Fail::Local(format!("{shown}: {e}")))?;
        let mut purse = Self {
            state,
            key,
            wallet,
            keysets: Keysets::default(),
            mints: BTreeMap::new(),
            rng: rng()?,
        };
        // What was read is on disk.
        let revision = purse.wallet.revision();
        purse.wallet.stored(revision);
        purse.load_keysets()?;
        Ok(purse)
    }

    fn load_keysets(&mut self) -> Result<(), Fail> {
        let file = self.state.load(KEYSETS, "keysets");
        let Some(file) = file.map_err(|e| Fail::Local(chain(&e)))? else {
            return Ok(());
        };
        let damaged =
            |why: &dyn std::fmt::Display| Fail::Local(format!("the wallet's keysets: {why}"));
        let kept: Vec<Kept> = serde_json::from_slice(&file.bytes).map_err(|e| damaged(&e))?;
        for kept in kept {
            let bytes =
                betanet_wire::text::unhex(&kept.keyset).ok_or_else(|| damaged(&"not hex"))?;
            let mut keyset = Keyset::check(&bytes, &mut self.rng).map_err(|e| damaged(&e))?;
            if let Some(refresh) = &kept.refresh {
                let bytes =
                    betanet_wire::text::unhex(refresh).ok_or_else(|| damaged(&"not hex"))?;
                let refreshed = keyset.refresh(&bytes, &mut self.rng);
                refreshed.map_err(|e| damaged(&e))?;
            }
            self.mints.insert(keyset.id(), kept.mints);
            self.keysets.add(keyset).map_err(|e| damaged(&e))?;
        }
        Ok(())
    }

    /// Adds a keyset, or the addresses of further mints of it.
    pub(super) fn learn(&mut self, keyset: Keyset, mints: &[String]) -> Result<(), Fail> {
        let id = keyset.id();
        // Of mints with shares of several generations, the last one counts.
        let known = self.keysets.get(&id).map(Keyset::generation);
        if known.is_none_or(|known| known <= keyset.generation()) {
            let added = self.keysets.add(keyset);
            added.map_err(|e| Fail::Peer(format!("keyset {id}: {e}")))?;
        }
        let known = self.mints.entry(id).or_default();
        for mint in mints {
            if !known.contains(mint) {
                known.push(mint.clone());
            }
        }
        let kept = self.keysets.iter().map(|keyset| Kept {
            keyset: betanet_wire::text::hex(keyset.as_bytes()),
            refresh: keyset.refresh_record().map(betanet_wire::text::hex),
            mints: self.mints.get(&keyset.id()).cloned().unwrap_or_default(),
        });
        let kept: Vec<Kept> = kept.collect();
        let text = serde_json::to_vec(&kept).map_err(|e| Fail::Local(e.to_string()))?;
        let stored = self.state.replace(KEYSETS, "keysets", &text);
        stored.map_err(|e| Fail::Local(chain(&e)))
    }

    /// Keeps since when a ledger proves a keyset, by the time of the first final head with it that this wallet saw. Gives that time.
    pub(super) fn proven(
        &mut self,
        ledger: &[u8; 32],
        keyset: &KeysetId,
        ts: u64,
    ) -> Result<u64, Fail> {
        let local = |e: betanet_store::Error| Fail::Local(chain(&e));
        let file = self.state.load(PROVEN, "proven").map_err(local)?;
        let mut kept: BTreeMap<String, u64> = match &file {
            Some(file) => serde_json::from_slice(&file.bytes)
                .map_err(|e| Fail::Local(format!("the wallet's proven keysets: {e}")))?,
            None => BTreeMap::new(),
        };
        let key = format!("{}:{keyset}", betanet_wire::text::hex(ledger));
        let before = kept.get(&key).copied();
        let since = before.map_or(ts, |before| before.min(ts));
        if before == Some(since) {
            return Ok(since);
        }
        while kept.len() >= PROVEN_MAX {
            let oldest = kept.iter().min_by_key(|(_, ts)| **ts);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.insert(key, since);
        let text = serde_json::to_vec(&kept).map_err(|e| Fail::Local(e.to_string()))?;
        self.state.replace(PROVEN, "proven", &text).map_err(local)?;
        Ok(since)
    }

    /// The encrypted wallet, for a copy.
    pub(super) fn sealed(&mut self) -> Result<Vec<u8>, Fail> {
        let sealed = self.wallet.to_bytes(&self.key, &mut self.rng);
        let sealed = sealed.map_err(|e| Fail::Local(e.to_string()))?;
        Ok(sealed.as_bytes().to_vec())
    }

    /// Writes the wallet. Operations that began by now may send their requests afterwards.
    pub(super) fn save(&mut self) -> Result<(), Fail> {
        let sealed = self.wallet.to_bytes(&self.key, &mut self.rng);
        let sealed = sealed.map_err(|e| Fail::Local(e.to_string()))?;
        let stored = self.state.replace(WALLET, "wallet", sealed.as_bytes());
        stored.map_err(|e| Fail::Local(chain(&e)))?;
        self.wallet.stored(sealed.revision());
        Ok(())
    }

    /// The number of a new operation.
    pub(super) fn number(&mut self) -> [u8; 16] {
        self.rng.array()
    }

    /// The mints of a keyset, and its redemption service.
    pub(super) fn mints_of(&self, keyset: &Keyset) -> Result<(Vec<Mint>, Mint), Fail> {
        let texts = self.mints.get(&keyset.id()).map_or(&[][..], Vec::as_slice);
        let mints: Vec<Mint> = texts.iter().map(|t| mint(t)).collect::<Result<_, _>>()?;
        let spender = Name::from(keyset.spender().node_id());
        let known = mints.iter().find(|(name, _)| *name == spender).cloned();
        Ok((mints, known.unwrap_or((spender, None))))
    }

    /// The keyset to pay from: of those that still redeem the one with the most units at hand.
    pub(super) fn spendable(&self) -> Result<&Keyset, Fail> {
        let now = now_ms();
        let held = |keyset: &&Keyset| {
            let own = self.wallet.vouchers().filter(|v| v.keyset() == keyset.id());
            own.map(betanet_vouchers::Voucher::value).sum::<u64>()
        };
        let live = self
            .keysets
            .iter()
            .filter(|k| matches!(k.phase(now), Phase::Active | Phase::Retiring));
        live.max_by_key(held).ok_or_else(|| {
            Fail::Usage("the wallet knows no keyset that redeems: betanet pay mint PEER".to_owned())
        })
    }
}

/// Reads a mint's name or peer string.
pub(super) fn mint(text: &str) -> Result<Mint, Fail> {
    if let Ok(name) = Name::from_str(text.trim()) {
        return Ok((name, None));
    }
    let peer: Result<Peer, _> = text.trim().parse();
    let peer =
        peer.map_err(|e| Fail::Usage(format!("{text}: {e}, or a name that starts with bn1:")))?;
    Ok((peer.name(), Some(peer)))
}
