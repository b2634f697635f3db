//! A mint that also redeems, and a client with a wallet, in memory: from the payment to the balance.
//!
//! `cargo run --release -p betanet-vouchers --example mint`

#![allow(clippy::print_stdout, reason = "an example")]

use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_vouchers::bank::{Bank, verified};
use betanet_vouchers::message::{IssueRequest, Op, RedeemRequest};
use betanet_vouchers::mint::{Mint, MintShares, Paid};
use betanet_vouchers::wallet::{Phrase, Wallet};
use betanet_vouchers::{Keysets, Terms, Voucher, deal_keyset};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A program draws the seed from the system, and asks its clock.
    let (now, mut rng) = (1_790_000_000_000, Rng::new(&Seed::from_number(7)));
    // The mint: denominations of 1 to 8 units, a machine that issues, one that redeems, and a journal for both.
    let spender = Identity::from_seed(&rng.array());
    let terms = Terms::single("FOG", *spender.public(), now);
    let (keyset, mut dealt) = deal_keyset(&terms, &[0, 1, 2, 3], &mut rng)?;
    let (mut mint, mut shares) = (Mint::new(), MintShares::default());
    let (mut bank, mut keysets) = (Bank::new(*spender.public()), Keysets::default());
    assert!(shares.add(&keyset, dealt.remove(0)));
    keysets.add(keyset.clone())?;
    let mut journal: Vec<Vec<u8>> = mint.open(&keyset).into_iter().collect();

    // A client pays for 13 units, in whatever way, and asks for them. The wallet is on disk before its request leaves.
    let (amount, mut wallet) = (13, Wallet::new(&Phrase::short(&rng.array()), ""));
    wallet.buy(&keyset, amount, [1; 16])?;
    wallet.paid(&[1; 16], b"receipt 17")?;
    wallet.stored(wallet.revision());
    let sent = wallet.request(&[1; 16], &keyset)?;

    // The mint knows what the receipt is worth, and signs points that tell it nothing. The record is on disk before the answer leaves.
    let request = IssueRequest::from_bytes(&sent.bytes)?;
    let paid = Paid { amount, at: now };
    let decided = mint.issue(now, &keyset, &request, &request.points()?, paid);
    journal.extend(decided.record);
    let to_sign = decided.answer.release(mint.records())?;
    let answer = to_sign.map_err(|code| code.to_string())?.sign(&shares);
    wallet.issued(
        &[1; 16],
        &keyset,
        &[answer.ok_or("no share")?.partials],
        &mut rng,
    )?;

    // A payee redeems the vouchers. The second time they are spent.
    let payee = Identity::from_seed(&[9; 32]).public().node_id();
    let vouchers: Vec<Voucher> = wallet.vouchers().cloned().collect();
    for id in [[2; 16], [3; 16]] {
        let sent = RedeemRequest::encode(Op::Redeem, payee, id, &vouchers);
        let request = RedeemRequest::from_bytes(&sent)?;
        let verdicts = verified(request.hash(), &request.vouchers, &keysets, &mut rng);
        let decided = bank.redeem(now, Some(payee), &keysets, &request, &verdicts);
        journal.extend(decided.record);
        let answer = decided.answer.release(bank.records())?;
        println!("{:?}: balance {}", answer.codes, answer.balance);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn vouchers_reach_the_balance() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }

    #[test]
    fn it_has_at_most_fifty_lines_of_code() {
        let program = include_str!("mint.rs").split("#[cfg(test)]").next();
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let lines = program.unwrap_or_default().lines().filter(is_code).count();
        assert!((30..=50).contains(&lines), "{lines}");
    }
}
