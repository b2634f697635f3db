//! A mint, its redemption service, and a client, in memory: a voucher from the payment to the balance.
//!
//! `cargo run --release -p betanet-vouchers --example mint`

#![allow(clippy::print_stdout, reason = "an example")]

use betanet_bls::Scalar;
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_vouchers::bank::{Bank, verified};
use betanet_vouchers::message::{Blinded, IssueRequest, Op, RedeemRequest};
use betanet_vouchers::mint::{Mint, MintShares, Paid};
use betanet_vouchers::{
    Blinding, Denomination, Keyset, KeysetDraft, Keysets, MIN_LIFE, deal, finish,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = 1_790_000_000_000;
    // A program draws the seed from the system.
    let mut rng = Rng::new(&Seed::from_number(7));
    // The mint: one denomination of 2^5 units, its key shared 2 of 3. Here one process holds two of the shares.
    let spender = Identity::from_seed(&rng.array());
    let e = Denomination::new(5).ok_or("range")?;
    let (key, shares, _) = deal(e, 2, 3, &mut rng).ok_or("threshold")?;
    let draft = KeysetDraft {
        unit: "FOG",
        not_before: now,
        exp: now + MIN_LIFE,
        t: 2,
        spender: *spender.public(),
        keys: &[(e, key)],
    };
    let keyset = Keyset::check(&draft.to_bytes(), &mut rng)?;
    let mut journal = Vec::new();
    // The client blinds a secret.
    let blinding = Blinding::new(e, &rng.array(), Scalar::draw(|b| rng.fill(b))).ok_or("zero")?;
    let point = blinding.blinded(&keyset).ok_or("identity")?.to_bytes();
    let request = IssueRequest::encode(
        [1; 16],
        &keyset.id(),
        &[Blinded {
            denomination: e,
            point,
        }],
        b"receipt 17",
    );
    // Two mints sign it: what the payment is worth, the caller knows.
    let mut answers = Vec::new();
    for share in shares.into_iter().take(2) {
        let (mut mint, mut own) = (Mint::new(), MintShares::default());
        own.add(&keyset, [share]);
        journal.extend(mint.open(&keyset));
        let request = IssueRequest::from_bytes(&request)?;
        let paid = Paid {
            amount: 32,
            at: now,
        };
        let decided = mint.issue(now, &keyset, &request, &request.points()?, paid);
        journal.extend(decided.record);
        // Now the journal is synced. Only then the answer comes out.
        let to_sign = decided
            .answer
            .release(mint.records())
            .map_err(|_| "not committed")?
            .map_err(|code| code.to_string())?;
        answers.push(to_sign.sign(&own).ok_or("no share")?.partials);
    }
    let vouchers = finish(&keyset, &[blinding], &answers, &mut rng)?;
    println!("{}", vouchers[0]);
    // The payee redeems it.
    let (payee, mut bank, mut keysets) = (
        Identity::from_seed(&[9; 32]),
        Bank::new(*spender.public()),
        Keysets::default(),
    );
    keysets.add(keyset)?;
    let to = payee.public().node_id();
    for id in [[2; 16], [3; 16]] {
        let request =
            RedeemRequest::from_bytes(&RedeemRequest::encode(Op::Redeem, to, id, &vouchers))?;
        let verdicts = verified(request.hash(), &request.vouchers, &keysets, &mut rng);
        let decided = bank.redeem(now, Some(to), &keysets, &request, &verdicts);
        journal.extend(decided.record);
        let answer = decided
            .answer
            .release(bank.records())
            .map_err(|_| "not committed")?;
        println!(
            "{:?}: redeemed {}, balance {}",
            answer.codes,
            answer.total,
            bank.balance(&to, "FOG")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_voucher_reaches_the_balance() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
