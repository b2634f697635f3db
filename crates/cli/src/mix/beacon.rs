//! The secret of a beacon: whole, as in a test network, or in shares.

use std::path::Path;

use betanet_machine::Rng;
use betanet_mix::{BeaconKey, BeaconSecret, BeaconShare, PartialBeacon, epoch_at, join_beacon};
use betanet_runtime::{Clock, read_secret, seed, write_secret};
use betanet_wire::text::{hex, unhex_array};
use zeroize::Zeroizing;

use super::{network, wrong};
use crate::Fail;
use crate::args::BeaconCommand;

pub(super) fn run(command: BeaconCommand) -> Result<(), Fail> {
    match command {
        BeaconCommand::Split {
            beacon_key,
            threshold,
            shares,
            output,
        } => split(&beacon_key, (threshold, shares), &output),
        BeaconCommand::Sign { share, epoch } => sign(&share, epoch),
        BeaconCommand::Join {
            parts,
            network,
            epoch,
        } => join(&parts, &network, epoch),
    }
}

/// Generates a beacon's secret, and writes it to a new file.
pub(crate) fn new_key(path: &Path) -> Result<BeaconKey, Fail> {
    let secret = Zeroizing::new(Rng::new(&seed()?).array::<32>());
    let made = BeaconSecret::from_seed(&secret).ok_or_else(|| wrong(path, "no key came of it"))?;
    write_secret(path, hex(&secret[..]).as_bytes())?;
    Ok(made.public())
}

fn secret_text(path: &Path) -> Result<Zeroizing<String>, Fail> {
    Ok(read_secret(path)?)
}

/// Reads the secret from a file.
pub(crate) fn secret(path: &Path) -> Result<BeaconSecret, Fail> {
    let text = secret_text(path)?;
    let secret: Option<[u8; 32]> = unhex_array(text.trim());
    let secret = secret.and_then(|s| BeaconSecret::from_seed(&Zeroizing::new(s)));
    secret.ok_or_else(|| wrong(path, "a beacon's secret is 64 hex digits"))
}

fn split(path: &Path, (threshold, shares): (u8, u8), output: &Path) -> Result<(), Fail> {
    let secret = secret(path)?;
    let mut rng = Rng::new(&seed()?);
    let dealt = secret.split(threshold, shares, &mut rng).ok_or_else(|| {
        let why = format!(
            "--threshold {threshold} --shares {shares}: the threshold is from 1 to the shares"
        );
        Fail::Usage(why)
    })?;
    std::fs::create_dir_all(output).map_err(Fail::file(output))?;
    let mut written = Vec::new();
    for share in &dealt {
        let file = output.join(share.index().to_string());
        let text = Zeroizing::new(format!("{}:{}\n", share.index(), hex(share.secret())));
        if let Err(error) = write_secret(&file, text.as_bytes()) {
            // An incomplete set of shares is useless, and would prevent the next split.
            for file in &written {
                let _ = std::fs::remove_file(file);
            }
            return Err(error.into());
        }
        written.push(file);
    }
    for file in &written {
        say!("{}", file.display());
    }
    Ok(())
}

/// Parses `INDEX:HEX`.
fn indexed<const N: usize>(text: &str) -> Option<(u8, [u8; N])> {
    let (index, rest) = text.trim().split_once(':')?;
    Some((index.parse().ok()?, unhex_array(rest)?))
}

/// Returns the given epoch, or the one after the current.
fn epoch_of(epoch: Option<u32>) -> u32 {
    epoch.unwrap_or_else(|| epoch_at(Clock::start().now().unix_ms).saturating_add(1))
}

fn sign(path: &Path, epoch: Option<u32>) -> Result<(), Fail> {
    let text = secret_text(path)?;
    let share = indexed(&text).and_then(|(index, secret)| {
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(secret);
        BeaconShare::from_parts(index, &secret)
    });
    let signed = share.and_then(|s| s.sign(epoch_of(epoch)));
    let part =
        signed.ok_or_else(|| wrong(path, "a share is INDEX:SECRET, its secret 64 hex digits"))?;
    say!("{}:{}", part.index, hex(&part.sig));
    Ok(())
}

fn join(parts: &[String], file: &Path, epoch: Option<u32>) -> Result<(), Fail> {
    let (_, mix) = network(file)?;
    let epoch = epoch_of(epoch);
    let mut read = Vec::new();
    for text in parts {
        let (index, sig) = indexed(text).ok_or_else(|| {
            Fail::Usage(format!(
                "{text}: INDEX:HEX, 96 hex digits, as `mix beacon sign` prints it"
            ))
        })?;
        read.push(PartialBeacon { index, sig });
    }
    let joined = join_beacon(&read);
    let joined = joined.filter(|sig| mix.beacon_key.beacon(epoch, sig).is_some());
    let joined = joined.ok_or_else(|| {
        let why = format!(
            "what {} holders signed is not the beacon of epoch {epoch}: too few of them, one twice, or another epoch's",
            read.len()
        );
        Fail::Local(why)
    })?;
    say!("{}", hex(&joined));
    Ok(())
}
