//! Reads arbitrary bytes as the files that an earlier run has left.

use std::sync::Arc;

use betanet_fog_client::node::Receipts as _;
use betanet_store::{MemoryStorage, Storage};

use crate::receipts::{KIND, NAMES, RECEIPTS_MAX, StoredReceipts};

/// Reads two journals of receipts, and panics if one that reads loses a receipt, or a bound does not hold.
///
/// The bytes are records, each after the byte of its length. A length of 255 begins the second journal.
pub fn fuzz(bytes: &[u8]) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let (mut rest, mut at) = (bytes, 0);
    while let Some((len, more)) = rest.split_first() {
        if *len == u8::MAX {
            (rest, at) = (more, 1);
            continue;
        }
        let (record, more) = more.split_at(more.len().min(usize::from(*len)));
        rest = more;
        if storage.append(KIND, NAMES[at], record).is_err() {
            return;
        }
    }
    let Ok(mut receipts) = StoredReceipts::open(Arc::clone(&storage)) else {
        return;
    };
    let Ok(all) = receipts.all() else { return };
    assert!(
        all.len() <= bytes.len(),
        "receipts that nobody stored are read"
    );
    let put = receipts.put(u64::MAX, b"new").is_ok();
    assert!(put || all.len() >= RECEIPTS_MAX, "a receipt is not taken");
    drop(receipts);
    let again = StoredReceipts::open(storage).map(|mut again| again.all());
    let Ok(Ok(again)) = again else {
        assert!(!put, "a journal that read does not read again");
        return;
    };
    let mut wanted = all;
    wanted.retain(|(fence, _)| *fence != u64::MAX);
    wanted.push((u64::MAX, b"new".to_vec()));
    assert!(!put || again == wanted, "a receipt is lost");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fuzz/corpus/fog_receipts"
        );
        let mut inputs = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 5, "{inputs} inputs");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(0_u8..4, 0..300), len in 0_u8..40) {
            fuzz(&bytes);
            let begin = [9, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            fuzz(&[&begin[..], &[len], &bytes].concat());
        }
    }
}
