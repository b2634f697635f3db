//! Padding of mix packets: a turn of a session sends one of few sizes.

use betanet_htx::{StreamId, kind};
use betanet_mix::PACKET;
use betanet_mix::links::TOGETHER;

/// Packet counts that the wire shows: packets that leave together are padded up to the next count, or to a multiple of the last.
const LOOKS: [usize; 7] = [0, 1, 2, 4, 8, 16, TOGETHER];

/// Bytes of padding to send after so many packets, so that the wire shows their number only roughly.
fn padding(packets: usize) -> usize {
    let looks = LOOKS.into_iter().find(|n| *n >= packets);
    let looks = looks.unwrap_or_else(|| packets.next_multiple_of(TOGETHER));
    (looks - packets) * PACKET
}

/// Counts the packets that a session has sent on its own packet stream and that have not left yet.
#[derive(Debug, Default)]
pub(crate) struct Unpadded {
    /// ID of the packet stream. A session has one; if it is opened again, the last one counts.
    stream: Option<StreamId>,
    bytes: usize,
}

impl Unpadded {
    /// Records an opened stream.
    pub(crate) fn opened(&mut self, of: u8, stream: StreamId) {
        if of == kind::MIX {
            self.stream = Some(stream);
        }
    }

    /// Records bytes sent on a stream.
    pub(crate) fn sent(&mut self, stream: StreamId, bytes: usize) {
        if self.stream == Some(stream) {
            self.bytes += bytes;
        }
    }

    /// Returns the bytes of padding to add to what leaves now.
    pub(crate) fn leaves(&mut self) -> usize {
        padding(std::mem::take(&mut self.bytes) / PACKET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sizes_are_seen_on_the_wire_and_never_more_than_twice_what_is_sent() {
        let mut sizes: Vec<usize> = (1..=60).map(|n| n * PACKET + padding(n)).collect();
        assert!((1..=60).all(|n| padding(n) < n * PACKET));
        sizes.dedup();
        assert_eq!(
            sizes,
            [1, 2, 4, 8, 16, TOGETHER, 52, 78].map(|n| n * PACKET)
        );
        assert_eq!(padding(0), 0, "nothing is added to nothing");
    }

    #[test]
    fn what_leaves_together_is_counted_together_and_nothing_else() {
        let mut unpadded = Unpadded::default();
        assert_eq!(unpadded.leaves(), 0);
        unpadded.opened(kind::MIX, 3);
        unpadded.opened(kind::LIBP2P, 5);
        unpadded.sent(3, PACKET);
        unpadded.sent(3, 2 * PACKET);
        unpadded.sent(5, 100 * PACKET);
        assert_eq!(unpadded.leaves(), PACKET);
        assert_eq!(unpadded.leaves(), 0);
    }
}
