//! Keys of a mint, and coupons.

use std::path::Path;

use betanet_keys::{Name, PublicKey};
use betanet_machine::Rng;
use betanet_runtime::{load_identity, seed};
use betanet_voucher_service::{
    Coupon, Deal, ISSUER_KEY_FILE, KEYSET_FILE, LEDGER_UNIT, MintFolder, mint_init,
};
use betanet_wire::text::unhex_array;
use serde_json::json;

use crate::Fail;
use crate::args::{CouponArgs, MintInitArgs};
use crate::fail::chain;

use super::purse::now_ms;

const DAY: u64 = 86_400_000;

impl From<betanet_voucher_service::Error> for Fail {
    fn from(error: betanet_voucher_service::Error) -> Self {
        Self::Local(chain(&error))
    }
}

pub(super) fn rng() -> Result<Rng, Fail> {
    let seed = seed().map_err(|e| Fail::Local(chain(&e)))?;
    Ok(Rng::new(&seed))
}

/// Reads a public key: in hex, or from a key file.
pub(super) fn public_key(flag: &str, text: &str) -> Result<PublicKey, Fail> {
    if let Some(bytes) = unhex_array(text.trim()) {
        let key = PublicKey::from_bytes(&bytes);
        return key.map_err(|e| Fail::Usage(format!("{flag} {text}: {e}")));
    }
    Ok(*load_identity(Path::new(text))?.public())
}

pub(super) fn init(args: &MintInitArgs) -> Result<(), Fail> {
    let spender = public_key("--spender", &args.spender)?;
    let now = now_ms();
    let exponents: Vec<u8> = (0..=args.max).collect();
    let members = args.member.iter().map(|m| public_key("--member", m));
    let members: Vec<PublicKey> = members.collect::<Result<_, _>>()?;
    let mints = match args.dkg {
        true => u8::try_from(members.len())
            .map_err(|_| Fail::Usage("a keyset has at most 255 mints".to_owned()))?,
        false => args.mints,
    };
    let least = mints / 2 + 1;
    let threshold = args.threshold.unwrap_or(least);
    let visible = args.unit.bytes().all(|b| b.is_ascii_graphic());
    if !visible || !(1..=32).contains(&args.unit.len()) {
        return Err(Fail::Usage(format!(
            "--unit {:?}: 1 to 32 visible ASCII characters",
            args.unit
        )));
    }
    if mints == 0 {
        return Err(Fail::Usage(
            "--mints 0: a keyset has one mint at least".to_owned(),
        ));
    }
    if threshold < least || threshold > mints {
        return Err(Fail::Usage(format!(
            "--threshold {threshold}: {least} to {} of {} mints issue together; with fewer, one coupon pays several times",
            mints, mints
        )));
    }
    let deal = Deal {
        t: threshold,
        n: mints,
        unit: &args.unit,
        exponents: &exponents,
        not_before: now,
        exp: now + u64::from(args.days) * DAY,
        spender,
    };
    if args.dkg {
        return super::keygen::plan(args, &deal, &members);
    }
    let dealt = mint_init(&args.folder, &deal, &mut rng()?)?;
    let id = dealt.keyset.id();
    let name = Name::from(spender.node_id());
    if args.json {
        say!(
            "{}",
            json!({
                "keyset": id.to_string(), "unit": args.unit, "threshold": threshold,
                "spender": name.to_string(), "exp": dealt.keyset.exp(), "mints": dealt.mints,
            })
        );
        return Ok(());
    }
    say!("keyset      {id}");
    say!("redeems at  {name}");
    for mint in &dealt.mints {
        say!(
            "mint        {}: start its gateway with --mint {}",
            mint.display(),
            mint.display()
        );
    }
    match args.unit.as_str() {
        LEDGER_UNIT => say!(
            "ledger      file = \"{}\" in [[keysets]] of its genesis, or betanet gov propose --keyset",
            args.folder.join(KEYSET_FILE).display()
        ),
        _ => say!(
            "coupons     betanet pay coupon VALUE --mint {}",
            args.folder.display()
        ),
    }
    if mints > 1 {
        note!(
            "note: move each mint's folder to its own machine, and delete it here: {} of them together can make money",
            threshold
        );
    }
    Ok(())
}

pub(super) fn coupon(args: &CouponArgs) -> Result<(), Fail> {
    let mut rng = rng()?;
    if !args.mint.join(ISSUER_KEY_FILE).is_file() {
        return Err(Fail::Local(format!(
            "--mint {}: no {ISSUER_KEY_FILE} is there: name the folder that betanet pay mint-init made, not the folder of one mint in it",
            args.mint.display()
        )));
    }
    let folder = MintFolder::open(&args.mint, &mut rng)?;
    if folder.keyset.unit() == LEDGER_UNIT {
        let why = "its vouchers are bought from a ledger with betanet pay buy, and coupons for them pay nothing";
        return Err(Fail::Usage(format!(
            "--mint {}: the unit is {LEDGER_UNIT}: {why}",
            args.mint.display()
        )));
    }
    let issuer = load_identity(&args.mint.join(ISSUER_KEY_FILE))?;
    let now = now_ms();
    let coupon = Coupon {
        id: rng.array(),
        keyset: folder.keyset.id(),
        value: args.value,
        exp: now + u64::from(args.days) * DAY,
    };
    let text = coupon.sign(&issuer).to_string();
    if args.json {
        say!(
            "{}",
            json!({ "coupon": text, "value": args.value, "keyset": coupon.keyset.to_string(), "exp": coupon.exp })
        );
    } else {
        say!("{text}");
    }
    Ok(())
}
