//! A mint that keeps every byte, and tries to tell which issue a spent voucher comes from. Its state folder is read from the disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use betanet_machine::{Rng, Seed};
use betanet_vouchers::testkit::link::{Seen, guess};
use betanet_vouchers::{Denomination, KeyShare, Voucher, message_point, sign_blinded};

use crate::clients::{Client, Counted};
use crate::shop::Shop;
use crate::size;

/// Vouchers of one request.
const BATCH: usize = 64;
/// What is stored about one issue: so many bytes before and after its blinded point.
const NEAR: usize = 256;

/// All bytes below a folder.
fn bytes(dir: &Path, out: &mut Vec<u8>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type().unwrap().is_dir() {
            true => bytes(&entry.path(), out),
            // Sockets and locks have no bytes.
            false => out.extend(std::fs::read(entry.path()).unwrap_or_default()),
        }
    }
}

/// Every sequence of four bytes, once and in order.
fn fours(bytes: &[u8]) -> Vec<u32> {
    let windows = bytes.array_windows::<4>().map(|w| u32::from_be_bytes(*w));
    let mut all: Vec<u32> = windows.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// How many sequences of four bytes of these texts are stored, and of how many. The first byte of a point is left out: some of its
/// bits are fixed.
fn found<'a>(stored: &[u32], texts: impl Iterator<Item = &'a [u8]>) -> (u64, u64) {
    let (mut hits, mut all) = (0, 0);
    for text in texts {
        for four in text[1..].array_windows::<4>() {
            all += 1;
            hits += u64::from(stored.binary_search(&u32::from_be_bytes(*four)).is_ok());
        }
    }
    (hits, all)
}

/// How many pairs of bytes two texts share, of those of the second.
fn shared(near: &[u8], text: &[u8]) -> u64 {
    let mut seen = vec![0_u64; 1024];
    for [a, b] in near.array_windows::<2>() {
        let pair = usize::from(*a) << 8 | usize::from(*b);
        seen[pair / 64] |= 1 << (pair % 64);
    }
    let hit = |[a, b]: &[u8; 2]| {
        let pair = usize::from(*a) << 8 | usize::from(*b);
        seen[pair / 64] >> (pair % 64) & 1
    };
    text.array_windows::<2>().map(hit).sum()
}

/// What is stored near each of these points, where one lies in one piece.
fn near<'a>(stored: &'a [u8], points: &[[u8; 48]]) -> Vec<Option<&'a [u8]>> {
    let begins: BTreeMap<&[u8], usize> = points
        .iter()
        .enumerate()
        .map(|(at, p)| (&p[..8], at))
        .collect();
    let mut out = vec![None; points.len()];
    for (at, window) in stored.windows(48).enumerate() {
        if let Some(of) = begins.get(&window[..8])
            && window == points[*of]
        {
            let end = (at + 48 + NEAR).min(stored.len());
            out[*of] = Some(&stored[at.saturating_sub(NEAR)..end]);
        }
    }
    out
}

fn shuffled(n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for at in (1..n).rev() {
        order.swap(at, rng.below(at as u64 + 1) as usize);
    }
    order
}

/// The parts of a voucher that others have not: its secret and its signature.
fn own(voucher: &Voucher) -> [&[u8]; 2] {
    let bytes = voucher.as_bytes();
    [&bytes[32..64], &bytes[64..112]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mint_that_keeps_every_byte_links_no_better_than_chance() {
    let (n, seed) = (size("VOUCHERS", 320) as usize, size("SEED", 31));
    let mut rng = Rng::new(&Seed::from_number(seed));
    let shop = Arc::new(Shop::start(0, &mut rng));
    // The state lies beside the key.
    let state = shop.home.path().to_owned();
    let counted = Arc::new(Counted::default());
    let mut client = Client::new(Arc::clone(&shop), counted, 1, Rng::new(&rng.seed()));
    let unit = Denomination::new(0).unwrap();
    while client.unspent.len() < n {
        let some = BATCH.min(n - client.unspent.len());
        client.buy(&vec![unit; some]).await;
    }
    let mut stored = Vec::new();
    bytes(&state, &mut stored);

    // What is spent together was not bought together.
    let vouchers = std::mem::take(&mut client.unspent);
    let order = shuffled(n, &mut rng);
    for batch in order.chunks(BATCH) {
        let batch: Vec<Voucher> = batch.iter().map(|at| vouchers[*at].clone()).collect();
        let sent = client.redemption(&batch);
        assert!(client.send(&sent).await.iter().all(|c| c.0 == 0));
    }
    let mut after = Vec::new();
    bytes(&state, &mut after);

    // The mint does keep what it sees: the blinded points by then, and the secrets by now. A few lie across two pages of its database.
    let kept = fours(&stored);
    let (hits, all) = found(&kept, client.bought.iter().map(<[u8; 48]>::as_slice));
    assert!(
        hits * 10 > all * 9,
        "{hits} of {all}: the blinded points are stored"
    );
    let secrets = vouchers.iter().map(|v| own(v)[0]);
    let (hits, all) = found(&fours(&after), secrets);
    assert!(
        hits * 10 > all * 9,
        "{hits} of {all}: the secrets are stored once they are spent"
    );

    // Before they are spent nothing of the vouchers is stored, but what chance puts there.
    let keyset = shop.keyset.id();
    let points: Vec<[u8; 48]> = vouchers
        .iter()
        .map(|v| {
            let secret = own(v)[0].try_into().unwrap();
            message_point(&keyset, unit, secret).unwrap().to_bytes()
        })
        .collect();
    let texts = vouchers.iter().flat_map(own);
    let texts = texts.chain(points.iter().map(<[u8; 48]>::as_slice));
    let (hits, all) = found(&kept, texts);
    let expected = all as f64 * kept.len() as f64 / 4_294_967_296.0;
    let bound = 6.0f64.mul_add(expected.sqrt(), expected + 6.0);
    assert!(
        (hits as f64) < bound,
        "{hits} of {all}, by chance {expected}"
    );

    // What stands near an issue has no more in common with its own voucher than with another.
    let others = shuffled(n, &mut rng);
    let near = near(&stored, &client.bought);
    let (mut sum, mut squares, mut pairs) = (0.0, 0.0, 0);
    for (at, voucher) in vouchers.iter().enumerate() {
        let (Some(mine), Some(other)) = (near[at], near[others[at]]) else {
            continue;
        };
        let text = own(voucher).concat();
        let difference = shared(mine, &text) as f64 - shared(other, &text) as f64;
        sum += difference;
        squares += difference * difference;
        pairs += 1;
    }
    assert!(pairs * 2 > n, "{pairs} pairs of {n} are compared");
    let deviations = sum / f64::max(squares, 1.0).sqrt();
    assert!(deviations.abs() < 6.0, "{deviations} standard deviations");

    // And no comparison of points and signatures, which the mint computes with its share, guesses more than chance does.
    let share = std::fs::read(shop.at("mint/mint-1/share.bin")).unwrap();
    let share = KeyShare::from_bytes(share.first_chunk().unwrap()).unwrap();
    let issued: Vec<Seen> = client
        .bought
        .iter()
        .map(|b| {
            let point = betanet_bls::G1Affine::from_bytes(b).unwrap();
            let signature = sign_blinded(&share, &point).unwrap().to_bytes();
            Seen {
                points: [*b, signature],
            }
        })
        .collect();
    let spent: Vec<Seen> = order
        .iter()
        .map(|at| Seen {
            points: [points[*at], own(&vouchers[*at])[1].try_into().unwrap()],
        })
        .collect();
    let links = guess(&issued, &spent, &order);
    for (name, right) in &links.right {
        // One on average by chance; nine or more in one case of a million.
        assert!(*right < 9, "{name}: {right} of {n}");
    }
    println!(
        "unlinkable: {n} vouchers, {} bytes stored; of {all} sequences of four bytes {hits} are stored, by chance {expected:.1}; \
         {deviations:.2} standard deviations of what is near; right guesses {:?}",
        stored.len(),
        links
            .right
            .iter()
            .map(|(_, right)| *right)
            .collect::<Vec<_>>(),
    );
}
