//! Data of the mesh that a node keeps between its starts.

use std::path::Path;

use betanet_mesh::Saved;
use betanet_store::{Error, Kind, Storage, load_or_move};
use betanet_wire::text;
use bytes::Bytes;

const MESH: (Kind, &str) = (Kind::new("mesh", 1), "mesh");

/// Parses the last `seq`, followed by anchors' envelopes in hex, one per line.
fn parse(bytes: &[u8]) -> Option<Saved> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    Some(Saved {
        seq: lines.next()?.parse().ok()?,
        anchors: lines
            .map(|line| text::unhex(line).map(Bytes::from))
            .collect::<Option<_>>()?,
    })
}

/// Moves data that an earlier version kept in the file `old`.
///
/// # Errors
///
/// The data is invalid, or cannot be written.
pub fn adopt(state: &dyn Storage, old: &Path) -> Result<(), Error> {
    let reads = |bytes: &[u8]| parse(bytes).map(|_| bytes.to_vec());
    load_or_move(state, MESH, old, reads).map(|_| ())
}

pub(super) fn load(state: &dyn Storage) -> Result<Saved, Error> {
    match state.load(MESH.0, MESH.1)? {
        Some(kept) => parse(&kept.bytes).ok_or_else(|| state.unreadable(MESH.1)),
        None => Ok(Saved::default()),
    }
}

pub(super) fn save(state: &dyn Storage, saved: &Saved) -> Result<(), Error> {
    let mut out = format!("{}\n", saved.seq);
    for anchor in &saved.anchors {
        out.push_str(&text::hex(anchor));
        out.push('\n');
    }
    state.replace(MESH.0, MESH.1, out.as_bytes())
}

#[cfg(test)]
mod tests {
    use betanet_store::MemoryStorage;

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_does_not_read_is_told() {
        let state = MemoryStorage::default();
        assert_eq!(load(&state).unwrap().seq, 0);
        let saved = Saved {
            seq: 7,
            anchors: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
        };
        save(&state, &saved).unwrap();
        let kept = load(&state).unwrap();
        assert_eq!((kept.seq, kept.anchors), (7, saved.anchors));
        state.replace(MESH.0, MESH.1, b"7\nno hex\n").unwrap();
        assert!(matches!(load(&state), Err(Error::Damaged { .. })));
    }

    #[test]
    fn the_file_of_an_earlier_version_is_moved() {
        let home = tempfile::tempdir().unwrap();
        let old = home.path().join("node.mesh");
        let state = MemoryStorage::default();
        adopt(&state, &old).unwrap();
        std::fs::write(&old, "12\n6f6e65\n").unwrap();
        adopt(&state, &old).unwrap();
        assert_eq!(load(&state).unwrap().seq, 12);
        assert!(!old.exists());
        let state = MemoryStorage::default();
        std::fs::write(&old, "").unwrap();
        let told = adopt(&state, &old).unwrap_err().to_string();
        assert!(told.contains("node.mesh"), "{told}");
    }
}
