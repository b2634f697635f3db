//! Resolves an alias by files alone: `signers.txt`, with a signer's key in hexadecimal on each line, and `<alias>.proof`.
//!
//! ```text
//! cargo run -p betanet-naming --example resolve -- make DIR
//! cargo run -p betanet-naming --example resolve -- DIR files.example
//! ```
//!
//! `make` writes the files of a small network of three signers, so that there is something to resolve.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program prints, and has a clock"
)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use betanet_keys::{Identity, Name};
use betanet_log::{SignedHead, Signers};
use betanet_naming::signer::{Memory, Signer};
use betanet_naming::{
    Alias, AliasRecord, DOMAIN, Entry, Finalized, Genesis, LIFE_MS, Ledger, Look, Proof,
};
use betanet_wire::text::{hex, unhex_array};
use bytes::Bytes;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now = u64::try_from(now)?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", dir] => make(Path::new(dir), now),
        [dir, alias] => resolve(Path::new(dir), alias, now),
        _ => Err("resolve make DIR | resolve DIR ALIAS".into()),
    }
}

/// Needs no network, no ledger and no trust in whoever gave the proof.
fn resolve(dir: &Path, text: &str, now: u64) -> Result<(), Box<dyn Error>> {
    let alias: Alias = text.parse()?;
    let look = Look::of(&alias);
    if look.is_suspicious() {
        println!(
            "Careful: {} looks like another name. {look:?}",
            alias.to_unicode()
        );
    }
    let keys = fs::read_to_string(dir.join("signers.txt"))?;
    let keys: Option<Vec<[u8; 32]>> = keys.lines().map(unhex_array).collect();
    let signers = Signers::from_bytes(&keys.ok_or("signers.txt: not keys")?)?;
    let proof = Proof::from_bytes(&fs::read(dir.join(format!("{alias}.proof")))?)?;
    let Entry::Alias(finalized) = proof.verify(&[signers])? else {
        return Err("the proof is of another kind of record".into());
    };
    let record = finalized.record();
    if record.alias != alias {
        return Err(format!("the proof is of {}", record.alias).into());
    }
    let until = record.ts.saturating_add(LIFE_MS);
    match () {
        () if now >= until => println!("{alias} expired"),
        () if record.is_retirement() => println!("{alias} was retired"),
        () => println!("{alias} is {}", Name::from(record.node)),
    }
    println!(
        "seq {}, record {} of {}",
        record.seq,
        proof.index(),
        proof.head().head().size
    );
    Ok(())
}

fn make(dir: &Path, now: u64) -> Result<(), Box<dyn Error>> {
    let ids: Vec<Identity> = (1..=3_u8).map(|n| Identity::from_seed(&[n; 32])).collect();
    let keys: Vec<_> = ids.iter().map(|i| *i.public()).collect();
    let mut signers: Vec<Signer> = ids
        .into_iter()
        .map(|identity| Signer::new(identity, Memory::default()))
        .collect();
    let genesis = Genesis {
        signers: Signers::new(&keys)?,
        maintainers: Vec::new(),
    };
    let mut ledger = Ledger::new(&genesis)?;
    let owner = Identity::from_seed(&[9; 32]);
    let record = AliasRecord::bind("files.example".parse()?, &owner, 1, now);
    let mut finalized = Finalized::new(record, owner.public());
    fs::create_dir_all(dir)?;
    for (n, signer) in signers.iter_mut().enumerate().take(2) {
        let pending = signer.sign_record(now, &ledger, &finalized)?;
        // The signer's memory is stored before its signature leaves.
        fs::write(dir.join(format!("signer-{n}.memory")), pending.change())?;
        finalized.add(pending.stored());
    }
    let bytes = Bytes::from(finalized.to_bytes());
    ledger.apply(now, bytes.clone())?;
    let head = ledger
        .next_head(now)
        .ok_or("the ledger has contradictions")?;
    let mut signed = SignedHead::new(head);
    for (n, signer) in signers.iter_mut().enumerate().take(2) {
        let pending = signer.sign_head(now, &ledger, &head)?;
        fs::write(
            dir.join(format!("signer-{n}.memory")),
            signer_memory(&pending, dir, n)?,
        )?;
        signed.add(pending.stored());
    }
    ledger.accept(signed)?;
    let proof = ledger.prove(&"files.example".parse()?, |_| Some(bytes));
    let proof = proof.ok_or("no proof")?;
    assert!(proof.head().check(DOMAIN, &genesis.signers).is_ok());
    fs::write(dir.join("files.example.proof"), proof.to_bytes())?;
    let keys: Vec<String> = keys.iter().map(|k| hex(k.as_bytes())).collect();
    fs::write(dir.join("signers.txt"), keys.join("\n"))?;
    println!("{}: signers.txt, files.example.proof", dir.display());
    Ok(())
}

/// The stored memory with the change of one more signature.
fn signer_memory<T>(
    pending: &betanet_naming::signer::Pending<T>,
    dir: &Path,
    n: usize,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut memory = Memory::from_bytes(&fs::read(dir.join(format!("signer-{n}.memory")))?)?;
    memory.learn(pending.change())?;
    Ok(memory.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_resolved_from_files() -> Result<(), Box<dyn Error>> {
        let dir = std::env::temp_dir().join(format!("betanet-resolve-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let now = 1_790_000_000_000;
        make(&dir, now)?;
        let found = resolve(&dir, "files.example", now);
        let none = resolve(&dir, "other.example", now);
        fs::remove_dir_all(&dir)?;
        assert!(none.is_err());
        found
    }
}
