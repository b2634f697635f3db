//! Keys that the mints make together, and fresh shares of them, over files.

use std::path::Path;

use betanet_keys::PublicKey;
use betanet_runtime::{load_identity, write_secret};
use betanet_store::disk;
use betanet_voucher_service::keygen::{FILE_MAX, KeygenError, PLAN_FILE, Plan, Progress, step};
use betanet_voucher_service::{Deal, MintFolder, new_issuer};
use serde_json::json;

use crate::Fail;
use crate::args::{MintInitArgs, MintRefreshArgs, MintRoundArgs};
use crate::fail::chain;

use super::mint::{public_key, rng};

impl From<KeygenError> for Fail {
    fn from(error: KeygenError) -> Self {
        match error {
            KeygenError::Numbers | KeygenError::MemberTwice => Self::Usage(chain(&error)),
            error => Self::Local(chain(&error)),
        }
    }
}

/// Writes the plan of a new keyset, and the key that signs its coupons.
pub(super) fn plan(
    args: &MintInitArgs,
    deal: &Deal<'_>,
    members: &[PublicKey],
) -> Result<(), Fail> {
    let mut rng = rng()?;
    // The numbers are checked before anything is written.
    Plan::fresh(deal, members, deal.spender, &mut rng)?;
    let issuer = new_issuer(&args.folder)?;
    let plan = Plan::fresh(deal, members, issuer, &mut rng)?;
    written(&args.folder, &plan, args.json)
}

/// Writes the plan of fresh shares.
pub(super) fn refresh(args: &MintRefreshArgs) -> Result<(), Fail> {
    let mut rng = rng()?;
    let members = args.member.iter().map(|m| public_key("--member", m));
    let members: Vec<PublicKey> = members.collect::<Result<_, _>>()?;
    let folder = MintFolder::open(&args.mint, &mut rng)?;
    let plan = Plan::refresh(&folder.keyset, &members, &mut rng)?;
    written(&args.folder, &plan, args.json)
}

fn written(dir: &Path, plan: &Plan, json: bool) -> Result<(), Fail> {
    std::fs::create_dir_all(dir).map_err(Fail::file(dir))?;
    let path = dir.join(PLAN_FILE);
    write_secret(&path, plan.as_bytes()).map_err(|e| Fail::Local(chain(&e)))?;
    if json {
        let id = betanet_wire::text::hex(&plan.id());
        say!(
            "{}",
            json!({ "plan": path, "id": id, "mints": plan.n(), "threshold": plan.threshold() })
        );
        return Ok(());
    }
    let shown = path.display();
    say!(
        "plan        {shown}: give it to each of the {} mints",
        plan.n()
    );
    say!("next        betanet pay mint-round DIR --plan {shown} --key KEY, on each mint");
    if plan.keyset().is_none() {
        say!(
            "coupons     put the keyset.cbor that is made into {}, for betanet pay coupon",
            dir.display()
        );
    }
    Ok(())
}

/// Goes on with a run.
pub(super) fn round(args: &MintRoundArgs) -> Result<(), Fail> {
    let mut rng = rng()?;
    let me = load_identity(&args.key)?;
    let old = args
        .mint
        .as_ref()
        .map(|dir| MintFolder::open(dir, &mut rng));
    let old = old.transpose()?;
    let read = |path: &std::path::PathBuf| {
        disk::read_bounded(path, FILE_MAX as u64).map_err(Fail::file(path))
    };
    let plan = args.plan.as_ref().map(read).transpose()?;
    let how = (old.as_ref(), args.without_missing);
    let progress = step(
        &args.folder,
        plan.as_deref(),
        &me,
        &args.files,
        how,
        &mut rng,
    )?;
    let keyset = match &progress.made {
        Some(dir) => Some(MintFolder::open(dir, &mut rng)?.keyset.id()),
        None => None,
    };
    if args.json {
        let cheats = progress.cheats.iter();
        let cheats = cheats.map(|(mint, why)| json!({ "mint": mint, "why": why.to_string() }));
        say!(
            "{}",
            json!({
                "mint": progress.index, "round": progress.round, "file": progress.file,
                "waits_for": progress.waits_for, "cheats": cheats.collect::<Vec<_>>(),
                "made": progress.made, "keyset": keyset.map(|id| id.to_string()),
            })
        );
        return Ok(());
    }
    show(&progress);
    if let (Some(dir), Some(keyset)) = (&progress.made, keyset) {
        say!("keyset      {keyset}");
        let shown = dir.display();
        say!("made        {shown}: start this mint's gateway with --mint {shown}");
        if args.mint.is_some() {
            note!("note: delete the folder with the old share once the gateway runs");
        }
    }
    Ok(())
}

fn show(progress: &Progress) {
    say!("mint        {}", progress.index);
    for (mint, why) in &progress.cheats {
        say!("left out    mint {mint}: {why}");
    }
    let file = progress.file.display();
    say!(
        "round {}     {file}: give it to all other mints",
        progress.round
    );
    if !progress.waits_for.is_empty() {
        let missing: Vec<String> = progress.waits_for.iter().map(u8::to_string).collect();
        say!("waits for   mint {}", missing.join(", "));
    }
}
