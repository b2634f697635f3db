//! Stored data on peers of 1.1: the peers that have spoken 1.2, the used tickets, and the secret of the ticket key.

use std::path::Path;

use betanet_compat11::{Choices, Replay};
use betanet_dial::{FileError, read_secret, write_secret};
use betanet_machine::Rng;
use betanet_store::{Error as StoreError, Kind, Storage, load_or_move};
use betanet_wire::text::{hex, unhex_array};
use zeroize::Zeroizing;

use crate::Error;

/// Maximum number of peers whose version is remembered.
const CHOICES_MAX: usize = 262_144;
/// Maximum number of tickets that are remembered for two hours.
const TICKETS_MAX: usize = 65_536;

const SEEN: (Kind, &str) = (Kind::new("seen12", 1), "seen12");
const USED: (Kind, &str) = (Kind::new("used11", 1), "used11");

/// Adds the consequence of a damaged file, and the remedy, to an error.
fn advised(why: &'static str) -> impl Fn(StoreError) -> Error {
    move |error| match error {
        StoreError::Damaged { path, .. } => FileError::Key { path, why }.into(),
        other => other.into(),
    }
}

pub(super) fn choices(state: &dyn Storage, old: &Path) -> Result<Choices, Error> {
    let advised = advised(
        "damaged: not a list of who has spoken 1.2; without it nobody may be spoken 1.1 with",
    );
    let read = |bytes: &[u8]| Choices::from_bytes(bytes, CHOICES_MAX);
    let reads = |bytes: &[u8]| read(bytes).map(|_| bytes.to_vec());
    match load_or_move(state, SEEN, old, reads).map_err(&advised)? {
        Some(kept) => read(&kept.bytes).ok_or_else(|| advised(state.unreadable(SEEN.1))),
        None => Ok(Choices::new(CHOICES_MAX)),
    }
}

pub(super) fn replay(state: &dyn Storage, old: &Path, unix_ms: u64) -> Result<Replay, Error> {
    let advised = advised(
        "damaged: not a list of tickets of 1.1 that were used; without it they may be used again: remove it after 2 h",
    );
    let read = |bytes: &[u8]| Replay::from_bytes(bytes, TICKETS_MAX, unix_ms);
    let reads = |bytes: &[u8]| read(bytes).map(|_| bytes.to_vec());
    match load_or_move(state, USED, old, reads).map_err(&advised)? {
        Some(kept) => read(&kept.bytes).ok_or_else(|| advised(state.unreadable(USED.1))),
        None => Ok(Replay::new(TICKETS_MAX)),
    }
}

pub(super) fn store_choices(state: &dyn Storage, bytes: &[u8]) -> Result<(), StoreError> {
    state.replace(SEEN.0, SEEN.1, bytes)
}

pub(super) fn store_replay(state: &dyn Storage, bytes: &[u8]) -> Result<(), StoreError> {
    state.replace(USED.0, USED.1, bytes)
}

/// Reads the secret of a ticket key: 64 hex digits in a separate file, which is created if it does not exist.
pub(super) fn ticket_secret(path: &Path, rng: &mut Rng) -> Result<Zeroizing<[u8; 32]>, Error> {
    if !path.exists() {
        let secret = Zeroizing::new(rng.array::<32>());
        let text = Zeroizing::new(hex(&secret[..]) + "\n");
        write_secret(path, text.as_bytes())?;
        return Ok(secret);
    }
    let text = read_secret(path)?;
    let secret = unhex_array(text.trim()).ok_or(FileError::Key {
        path: path.to_owned(),
        why: "not 64 hex digits",
    })?;
    Ok(Zeroizing::new(secret))
}

#[cfg(test)]
mod tests {
    use betanet_compat11::Minor;
    use betanet_store::State;

    use super::*;

    #[test]
    fn lists_of_an_earlier_version_are_moved_and_damage_keeps_the_node_from_starting() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(&home.path().join("state")).unwrap();
        let at = |name: &str| home.path().join(name);
        let mut seen = choices(&state, &at("k.seen12")).unwrap();
        let now = 1 << 40;
        assert_eq!(seen.chose(now - 3_600_000, &[1; 32], Minor::Two), Ok(true));
        std::fs::write(at("k.seen12"), seen.to_bytes()).unwrap();
        std::fs::write(at("k.used11"), Replay::new(4).to_bytes()).unwrap();
        let mut moved = choices(&state, &at("k.seen12")).unwrap();
        assert_eq!(moved.to_bytes(), seen.to_bytes());
        assert!(moved.chose(now, &[1; 32], Minor::One).is_err());
        replay(&state, &at("k.used11"), 0).unwrap();
        assert!(!at("k.seen12").exists() && !at("k.used11").exists());
        for name in ["seen12", "used11"] {
            let file = at("state").join(name);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes.push(0);
            std::fs::write(&file, bytes).unwrap();
        }
        let told = choices(&state, &at("k.seen12")).err().unwrap().to_string();
        assert!(told.contains("state/seen12: damaged"), "{told}");
        let told = replay(&state, &at("k.used11"), 0).err().unwrap();
        assert!(told.to_string().contains("after 2 h"), "{told}");
    }
}
