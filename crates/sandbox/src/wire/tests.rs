use proptest::{collection::vec, prelude::*};

use super::*;

fn frame() -> impl Strategy<Value = Frame> {
    let text = "[a-z/]{0,40}";
    prop_oneof![
        any::<u32>().prop_map(Frame::Pid),
        (any::<u32>(), any::<[u8; 32]>()).prop_map(|(layers, key)| Frame::Ready { layers, key }),
        vec(any::<u8>(), 0..100).prop_map(Frame::Log),
        any::<u64>().prop_map(Frame::Progress),
        (any::<u64>(), text).prop_map(|(size, path)| Frame::File { size, path }),
        vec(any::<u8>(), 0..100).prop_map(Frame::Data),
        (any::<bool>(), text).prop_map(|(held, name)| Frame::Attempt { held, name }),
        (0..10_u8, any::<i32>(), any::<u64>(), text).prop_filter_map(
            "a status",
            |(status, code, fuel, reason)| {
                let status = status_of(status, if status == 1 { code } else { 0 }).ok()?;
                Some(Frame::End {
                    status,
                    fuel,
                    reason,
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(frames in vec(frame(), 0..8), cut in 1..50_usize) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut read = Frames::default();
        let mut got = Vec::new();
        for part in bytes.chunks(cut) {
            read.push(part);
            while let Some(frame) = read.next_frame().unwrap() {
                got.push(frame);
            }
        }
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn orders_come_out_as_they_went_in(
        args in vec("[a-z]{0,9}", 0..4),
        env in vec(("[A-Z]{1,9}", "[a-z]{0,9}"), 0..4),
        inputs in vec(("[a-z]{1,9}", any::<u64>()), 0..4),
        addresses in vec(any::<IpAddr>(), 0..4),
        numbers in any::<(u64, u32, u64, u64, u32, u64, u8)>(),
        flags in any::<[bool; 4]>(),
        seed in any::<[u8; 32]>(),
    ) {
        let (fuel, wall, memory, output, files, start_ms, share) = numbers;
        let [component, clock, random, network] = flags;
        let host = Host { name: "example.org".into(), port: 443, addresses };
        let run = Run {
            component, args, env, inputs, clock, random, seed, start_ms, share,
            limits: Limits { fuel, wall: std::time::Duration::from_millis(wall.into()), memory, output, files },
            hosts: network.then(|| vec![host]),
        };
        let order = Order::Run(Box::new(run));
        prop_assert_eq!(Order::decode(&order.encode()), Ok(order));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Order::decode(&bytes);
        let mut read = Frames::default();
        read.push(&bytes);
        while let Ok(Some(_)) = read.next_frame() {}
    }
}

#[test]
fn a_frame_longer_than_its_bound_is_broken() {
    let mut read = Frames::default();
    let mut bytes = vec![6];
    bytes.extend(u32::try_from(FRAME_MAX + 1).unwrap().to_le_bytes());
    read.push(&bytes);
    assert_eq!(read.next_frame(), Err(Broken));
}
