//! `cargo xtask replays [TAGS] [PACKETS]`: packets that come twice, and what a restart leaves of them.

use std::num::NonZeroUsize;
use std::time::Instant;

use betanet_keys::VrfSecret;
use betanet_machine::{Rng, Seed};
use betanet_mix::{
    Command, Hop, KeyRing, Noted, Outcome, PAYLOAD, Packet, Refusal, RelayKey, Replays, Taken, Way,
    build_batch, epoch_start, unwrap_batch,
};
use clap::Args;

/// Packets between two words on how far it is.
const TELL: usize = 1_000_000;
/// Packets that are built together.
const TOGETHER: usize = 64;
const EPOCH: u32 = 159_000;

/// Arguments of `replays`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Number of tags that are sent twice.
    #[arg(default_value = "10000000")]
    pub tags: NonZeroUsize,
    /// Number of whole packets that are built and unwrapped.
    #[arg(default_value = "100000")]
    pub packets: NonZeroUsize,
}

/// Shows so many tags to a replay memory of just that size, each of them again later; then whole packets to a relay, again, and
/// once more after a restart.
///
/// # Errors
///
/// A tag or a packet that passes twice.
pub fn command(args: &Arguments) -> Result<(), String> {
    tags(args.tags.get())?;
    packets(args.packets.get())
}

/// Shows a tag that a session from an address of its own brings.
fn take(memory: &mut Replays, tag: &[u8; 16], of_session: &mut usize) -> Taken {
    let mut of_charge = *of_session;
    let mut noted = Noted {
        of_session,
        of_charge: &mut of_charge,
    };
    memory.take(tag, &mut noted)
}

fn tags(n: usize) -> Result<(), String> {
    let began = Instant::now();
    let seed = Seed::from_number(7);
    let mut rng = Rng::new(&seed);
    // A session has at most 1/32 of the memory.
    let mut memory = Replays::with_capacity(n, &rng.array());
    let mut sessions = [0_usize; 40];
    let (mut again, mut false_refusals) = (0_u64, 0_u64);
    let tag = |i: usize| {
        let i = (i as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        i.to_be_bytes()
    };
    for i in 0..n {
        match take(&mut memory, &tag(i), &mut sessions[i % 40]) {
            Taken::New => {}
            Taken::Again => false_refusals += 1,
            Taken::Full => return Err(format!("full at {i} of {n}")),
        }
        // One that was here long ago.
        let old = usize::try_from(rng.below(i as u64 + 1)).unwrap_or(0);
        if take(&mut memory, &tag(old), &mut sessions[old % 40]) == Taken::New {
            return Err(format!("tag {old} passed twice"));
        }
        again += 1;
    }
    for i in 0..n {
        if take(&mut memory, &tag(i), &mut sessions[i % 40]) == Taken::New {
            return Err(format!("tag {i} passed twice"));
        }
        again += 1;
    }
    println!(
        "replays: {n} tags in {} MiB, {again} repetitions refused, {false_refusals} new ones refused; {:.0} s",
        Replays::bytes(n) >> 20,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Relay {
    ring: KeyRing,
    memory: Replays,
}

impl Relay {
    fn start(rng: &mut Rng, n: usize) -> Self {
        let mut ring = KeyRing::new(VrfSecret::from_seed(&[1; 32]));
        ring.turn(epoch_start(EPOCH), rng);
        let memory = Replays::with_capacity(n, &rng.array());
        Self { ring, memory }
    }

    fn unwrap(&mut self, packets: &mut [Packet], outcomes: &mut [Outcome]) {
        let memory = &mut self.memory;
        let seen = |_, _, tag: &[u8; 16]| take(memory, tag, &mut 0) != Taken::New;
        unwrap_batch(self.ring.keys(), packets, seen, outcomes);
    }
}

fn packets(n: usize) -> Result<(), String> {
    let began = Instant::now();
    let mut rng = Rng::new(&Seed::from_number(8));
    let mut relay = Relay::start(&mut rng, n);
    let key = relay.ring.record().of(EPOCH).and_then(RelayKey::check);
    let key = key.ok_or("no key")?;
    // A few of each thousand, for after the restart.
    let mut kept: Vec<Packet> = Vec::new();
    let mut done = 0;
    while done < n {
        let count = TOGETHER.min(n - done);
        let hops: Vec<[Hop; 1]> = (0..count)
            .map(|_| {
                let command = Command::Deliver { id: rng.array() };
                [Hop { key, command }]
            })
            .collect();
        let payload = [7; PAYLOAD];
        let ways: Vec<(Way<'_>, &[u8; PAYLOAD])> = hops
            .iter()
            .map(|hops| {
                let epoch = EPOCH.to_be_bytes()[3];
                let way = Way {
                    epoch,
                    hops,
                    x: rng.array(),
                    pad: rng.array(),
                };
                (way, &payload)
            })
            .collect();
        let built = build_batch(&ways)
            .into_iter()
            .collect::<Result<Vec<Packet>, _>>();
        let packets = built.map_err(|e| e.to_string())?;
        let few = if done % 1024 == 0 { 2 } else { 0 };
        kept.extend(packets.iter().take(few).cloned());
        for round in 0..2 {
            let mut copies = packets.clone();
            let mut outcomes = vec![Err(Refusal::Epoch); copies.len()];
            relay.unwrap(&mut copies, &mut outcomes);
            let good = |o: &Outcome| match round {
                0 => o.is_ok(),
                _ => *o == Err(Refusal::Replay),
            };
            if let Some(i) = outcomes.iter().position(|o| !good(o)) {
                return Err(format!(
                    "packet {}, time {}: {:?}",
                    done + i,
                    round + 1,
                    outcomes[i]
                ));
            }
        }
        done += count;
        if done % TELL < count && done < n {
            let took = began.elapsed().as_secs();
            println!("replays: {done} of {n} packets, {took} s");
        }
    }
    // The replay memory is lost with the process, and so are the keys.
    let mut restarted = Relay::start(&mut rng, n);
    let mut outcomes = vec![Err(Refusal::Epoch); kept.len()];
    restarted.unwrap(&mut kept, &mut outcomes);
    if let Some(i) = outcomes.iter().position(Result::is_ok) {
        return Err(format!("packet {i} passed again after a restart"));
    }
    println!(
        "replays: {n} packets passed once, were refused the second time, and {} of them after a restart; {:.0} s",
        kept.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
