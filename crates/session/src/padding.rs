//! What a session's turn sends of packets looks like few sizes on the wire.

use betanet_htx::{StreamId, kind};
use betanet_mix::PACKET;
use betanet_mix::links::TOGETHER;

/// As how many packets those look that leave together; more look like a multiple of the last.
const LOOKS: [usize; 7] = [0, 1, 2, 4, 8, 16, TOGETHER];

/// What is sent after so many packets, in bytes, so that the wire shows their number only roughly.
fn padding(packets: usize) -> usize {
    let looks = LOOKS.into_iter().find(|n| *n >= packets);
    let looks = looks.unwrap_or_else(|| packets.next_multiple_of(TOGETHER));
    (looks - packets) * PACKET
}

/// Counts the packets that a session sends on the stream that it opened for them, until they leave.
#[derive(Debug, Default)]
pub(crate) struct Unpadded {
    /// One stream a session; the last where one was opened again.
    stream: Option<StreamId>,
    bytes: usize,
}

impl Unpadded {
    /// A stream was opened.
    pub(crate) fn opened(&mut self, of: u8, stream: StreamId) {
        if of == kind::MIX {
            self.stream = Some(stream);
        }
    }

    /// Bytes were sent on a stream.
    pub(crate) fn sent(&mut self, stream: StreamId, bytes: usize) {
        if self.stream == Some(stream) {
            self.bytes += bytes;
        }
    }

    /// How much is to be sent beside what leaves now.
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
