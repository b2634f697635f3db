//! The durable state as records, and its hash.

use alloc::vec::Vec;

use betanet_keys::hash;

use super::books::Books;
use super::record::{Balance, Count, Counted, Granted, Piece, PointKey, Record, SpendKey, Spent};

/// Spent vouchers in one piece; other items in proportion to their length.
const SPENT_A_PIECE: usize = 1_500;
const ITEMS_A_PIECE: usize = 300;
const POINTS_A_PIECE: usize = 3_000;

impl Books {
    pub(super) fn snapshot(&self, out: &mut dyn FnMut(Record)) {
        let empty = || Piece {
            spent: Vec::new(),
            answers: Vec::new(),
            balances: Vec::new(),
            counters: Vec::new(),
            records: self.records,
            granted: None,
        };
        let mut send = |piece: Piece| out(Record::Piece(piece));
        // One at least, which carries the number of records.
        send(empty());
        let balances: Vec<Balance> = self
            .balances
            .iter()
            .map(|((of, unit), amount)| Balance {
                of: *of,
                unit: unit.clone(),
                amount: *amount,
            })
            .collect();
        for balances in balances.chunks(ITEMS_A_PIECE) {
            send(Piece {
                balances: balances.to_vec(),
                ..empty()
            });
        }
        let answers: Vec<_> = self.answers.values().cloned().collect();
        for answers in answers.chunks(ITEMS_A_PIECE) {
            send(Piece {
                answers: answers.to_vec(),
                ..empty()
            });
        }
        for (keyset, book) in &self.of {
            let keys: Vec<SpendKey> = book.spent.iter().copied().collect();
            for keys in keys.chunks(SPENT_A_PIECE) {
                let spent = Spent {
                    keys: keys.to_vec(),
                    keyset: keyset.0,
                };
                send(Piece {
                    spent: [spent].into(),
                    ..empty()
                });
            }
            let points: Vec<PointKey> = book.granted.iter().copied().collect();
            for points in points.chunks(POINTS_A_PIECE) {
                let granted = Granted {
                    points: points.to_vec(),
                    keyset: keyset.0,
                };
                send(Piece {
                    granted: Some(granted),
                    ..empty()
                });
            }
            let counts = |of: fn(&super::Counter) -> u64| {
                let all = book.counters.iter().map(|(e, c)| Count(*e, of(c)));
                all.collect()
            };
            let counted = Counted {
                issued: counts(|c| c.issued),
                keyset: keyset.0,
                swept: book.swept,
                watched: book.watched,
                redeemed: counts(|c| c.redeemed),
            };
            send(Piece {
                counters: [counted].into(),
                ..empty()
            });
        }
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut so_far = [0; 32];
        self.snapshot(&mut |record| so_far = hash(&[&so_far, &record.to_bytes()]));
        so_far
    }
}
