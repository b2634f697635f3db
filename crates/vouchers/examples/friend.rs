//! A wallet that pays a friend offline. The friend verifies what it got, and renews it when it is online again.
//!
//! `cargo run --release -p betanet-vouchers --example friend`

#![allow(clippy::print_stdout, reason = "an example")]

use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_vouchers::bank::{Bank, verified};
use betanet_vouchers::message::{IssueRequest, SwapRequest, swap_pays};
use betanet_vouchers::mint::{Mint, MintShares, Paid};
use betanet_vouchers::wallet::{Cost, Phrase, Wallet, WalletKey};
use betanet_vouchers::{Keyset, Keysets, Partials, Terms, deal_keyset};

type Failed = Box<dyn std::error::Error>;

/// A program asks its clock.
const NOW: u64 = 1_790_000_000_000;

/// A wallet, and the file that stands for its disk.
struct Device {
    wallet: Wallet,
    key: WalletKey,
    file: Vec<u8>,
}

impl Device {
    fn new(phrase: &Phrase, rng: &mut Rng) -> Result<Self, Failed> {
        let key = WalletKey::new(b"correct horse", Cost::default(), rng)?;
        let (wallet, file) = (Wallet::new(phrase, ""), Vec::new());
        Ok(Self { wallet, key, file })
    }

    /// Requests come out only after this.
    fn store(&mut self, rng: &mut Rng) -> Result<(), Failed> {
        let sealed = self.wallet.to_bytes(&self.key, rng)?;
        self.file = sealed.as_bytes().to_vec();
        self.wallet.stored(sealed.revision());
        Ok(())
    }
}

/// What a mint on the network does.
fn sign(
    mint: &mut Mint,
    shares: &MintShares,
    keyset: &Keyset,
    bytes: &[u8],
    paid: Option<Paid>,
) -> Result<Partials, Failed> {
    let request = IssueRequest::from_bytes(bytes)?;
    let paid = match paid {
        Some(paid) => paid,
        None => swap_pays(&request, keyset).map(|(amount, at)| Paid { amount, at })?,
    };
    let decided = mint.issue(NOW, keyset, &request, &request.points()?, paid);
    let to_sign = decided.answer.release(mint.records())?;
    let answer = to_sign.map_err(|code| code.to_string())?.sign(shares);
    Ok(answer.ok_or("no share")?.partials)
}

fn main() -> Result<(), Failed> {
    let mut rng = Rng::new(&Seed::from_number(3));
    let spender = Identity::from_seed(&rng.array());
    let terms = Terms::single("FOG", *spender.public(), NOW);
    let (keyset, mut dealt) = deal_keyset(&terms, &[0, 1, 2, 3, 4, 5], &mut rng)?;
    let (mut mint, mut shares) = (Mint::new(), MintShares::default());
    assert!(shares.add(&keyset, dealt.remove(0)));
    let _opened = mint.open(&keyset);
    let (mut bank, mut keysets) = (Bank::new(*spender.public()), Keysets::default());
    keysets.add(keyset.clone())?;

    let phrase = Phrase::short(&rng.array());
    println!("my phrase: {}", phrase.words());
    let mut me = Device::new(&phrase, &mut rng)?;
    me.wallet.buy(&keyset, 45, [1; 16])?;
    me.wallet.paid(&[1; 16], b"receipt 17")?;
    me.store(&mut rng)?;
    let request = me.wallet.request(&[1; 16], &keyset)?;
    let paid = Some(Paid {
        amount: 45,
        at: NOW,
    });
    let answer = sign(&mut mint, &shares, &keyset, &request.bytes, paid)?;
    me.wallet.issued(&[1; 16], &keyset, &[answer], &mut rng)?;
    println!(
        "I have {} FOG in {} vouchers",
        me.wallet.free(&keysets, "FOG"),
        me.wallet.len()
    );

    // Offline: text from hand to hand.
    me.wallet.give(&keyset.id(), 13, [2; 16])?;
    me.store(&mut rng)?;
    let texts: Vec<String> = me
        .wallet
        .given(&[2; 16])?
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut friend = Device::new(&Phrase::long(&rng.array()), &mut rng)?;
    for text in &texts {
        println!("{text}");
        friend.wallet.accept(text.parse()?, &keysets)?;
    }
    println!(
        "the friend has {} FOG, not renewed yet",
        friend.wallet.free(&keysets, "FOG")
    );

    // Online again: the friend exchanges them for vouchers whose secrets it alone knows.
    friend.wallet.swap(&keyset, &[], [3; 16])?;
    friend.store(&mut rng)?;
    let request = friend.wallet.request(&[3; 16], &keyset)?;
    let swap = SwapRequest::from_bytes(&request.bytes)?;
    let verdicts = verified(swap.hash(), &swap.vouchers, &keysets, &mut rng);
    let points = swap.points()?;
    let decided = bank.swap(NOW, &keysets, &swap, &points, &verdicts);
    let answer = decided.answer.release(bank.records())?;
    friend
        .wallet
        .answered(&[3; 16], &keyset, &answer.sign(&spender).0)?;
    friend.store(&mut rng)?;
    let request = friend.wallet.request(&[3; 16], &keyset)?;
    let answer = sign(&mut mint, &shares, &keyset, &request.bytes, None)?;
    let value = friend
        .wallet
        .issued(&[3; 16], &keyset, &[answer], &mut rng)?;
    println!(
        "the friend has renewed {value} FOG, and waits {:?} before it spends any",
        Wallet::suggested_wait(&mut rng)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_friend_is_paid_offline() -> Result<(), super::Failed> {
        super::main()
    }
}
