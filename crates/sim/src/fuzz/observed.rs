use alloc::vec::Vec;

use betanet_keys::{Envelope, Maintainers};
use betanet_machine::Time;
use betanet_traffic::shape::{Follower, Shape};
use betanet_traffic::template::Initials;
use betanet_traffic::template::front::Fronts;

/// Datagrams of a QUIC client, each with a length prefix of two bytes: parsed data can be shown.
pub fn initial(mut data: &[u8]) {
    let mut initials = Initials::default();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (datagram, rest) = rest.split_at(len);
        match initials.take(datagram) {
            Ok(Some(initial)) => {
                let (numbers, others) = initial.numbers();
                let reserved = initial.parameters.iter();
                let reserved =
                    reserved.filter(|(id, _)| betanet_traffic::template::is_reserved(*id));
                assert!(
                    numbers.0.len() + others.len() + reserved.count() <= initial.parameters.len()
                );
                assert!(!initial.fields().is_empty());
                return;
            }
            Ok(None) => data = rest,
            Err(_) => return,
        }
    }
}

/// Shapes of traffic: a decoded shape encodes and decodes again, and each trace is followed to its end.
pub fn shape(data: &[u8]) {
    let Ok(shape) = Shape::from_bytes(data) else {
        return;
    };
    // Unknown keys are left out.
    let written = shape.to_bytes();
    assert!(written.len() <= data.len());
    assert_eq!(Shape::from_bytes(&written).as_ref(), Ok(&shape));
    for trace in shape.traces() {
        let mut follower = Follower::new(Time::ZERO, trace, trace.len() % 2 == 0);
        follower.stretch(data.len());
        let mut sent: Vec<u16> = Vec::new();
        while let Some(at) = follower.wake() {
            let due = follower.due(at).map_or(0, |records| {
                sent.extend_from_slice(records);
                records.len()
            });
            if due > 0 {
                follower.sent(at, due);
            }
            // The first read and the later partial reads are less than the remaining data.
            let all: usize = trace.iter().map(|step| usize::from(step.size) + 5).sum();
            assert!(follower.first_read().is_none_or(|first| first < all));
            assert_eq!(
                follower.first_read().is_some(),
                follower.reads().next().is_some()
            );
        }
        assert!(follower.is_over());
    }
}

/// Records of front origins: without the maintainers' signatures none is accepted.
pub fn front(data: &[u8]) {
    if let Ok(envelope) = Envelope::from_bytes(data) {
        let mut fronts = Fronts::default();
        assert!(fronts.add(&envelope, &Maintainers::new(&[])).is_err());
        assert!(fronts.is_empty());
        // Unknown keys are left out; signed data is kept as it is.
        let bytes = envelope.to_bytes();
        assert!(bytes.len() <= data.len());
        let again = Envelope::from_bytes(&bytes).map(|e| e.to_bytes());
        assert_eq!(again, Ok(bytes));
    }
}
