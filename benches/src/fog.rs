//! Records of the fog: the codec beside ciborium's, and a whole task beside the one verification that it cannot do without.

use std::hint::black_box;

use betanet_fog::{Item as _, Received, Signed, Task, from_slice, to_vec};
use betanet_keys::Identity;

use crate::{Effort, Figure, median, spent};

const NOW_MS: u64 = 1_790_000_000_000;

/// A task with some of everything, as the known answers have it.
fn example(owner: &Identity) -> Task {
    let owner = betanet_wire::text::hex(owner.public().as_bytes());
    let digest = "11".repeat(32);
    let text = serde_json::json!({
        "after": [digest], "args": ["--n", "42"], "budget": 5_000_000, "deadline": NOW_MS + 3_600_000, "env": { "LANG": "C" },
        "fuel": 1_000_000_000_000_u64, "grants": [], "group": "",
        "inputs": [["in/a", digest, "out/part-0"], ["in/b", digest, 4096]], "level": "private", "module": [digest, 65536],
        "nonce": "22".repeat(16), "ns": "lab", "offline": ["keep", 600_000], "out_max": 1 << 20, "owner": owner,
        "place": { "affinity": [["zone", ["eu-1", "eu-2"], 40]], "near": ["", "eu", "eu-1"],
            "need": [["model", "in", ["a100", "h100"]]], "rep": 500_000, "spread": "zone" },
        "prio": 9, "res": { "cpu": 1500, "memory": 1_u64 << 31, "storage": 0, "gpu": 250, "bandwidth": 0, "relay": 2_000_000 },
        "retry": [3, 5000, 300_000], "rsv": "", "run_ms": 600_000, "start": 0, "strategy": "affinity", "tier": "platinum",
        "verify": ["quorum", 2, 3],
    });
    betanet_fog::json::from_str(&text.to_string()).unwrap()
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let owner = Identity::from_seed(&[1; 32]);
    let key = owner.public();
    let task = example(&owner);
    let rec = to_vec(&task);
    let envelope = Signed::sign(task.clone(), &owner).unwrap().to_bytes();
    let tree: ciborium::Value = ciborium::from_reader(rec.as_slice()).unwrap();
    let digest = [7; 32];
    let sig = owner.sign("", &[&digest]);
    let n = if effort.quick { 1_000 } else { 4_000 };
    let mut times: [Vec<f64>; 8] = Default::default();
    for _ in 0..effort.rounds {
        let mut run = |at: usize, work: &dyn Fn()| {
            times[at].push(spent(|| (0..n).for_each(|_| work())) / f64::from(n) * 1e6);
        };
        run(0, &|| drop(black_box(to_vec(black_box(&task)))));
        run(1, &|| {
            let mut out = Vec::new();
            ciborium::into_writer(black_box(&tree), &mut out).unwrap();
            black_box(out);
        });
        run(2, &|| {
            black_box(from_slice::<Task>(black_box(&rec)).unwrap());
        });
        run(3, &|| {
            let bytes: &[u8] = black_box(&rec);
            black_box(ciborium::from_reader::<ciborium::Value, _>(bytes).unwrap());
        });
        run(4, &|| Task::SHAPE.check(black_box(&rec)).unwrap());
        run(5, &|| {
            let received = Received::<Task>::read(black_box(&envelope)).unwrap();
            let authentic = received.verify_with(key).unwrap();
            black_box(authentic.check(NOW_MS).unwrap());
        });
        run(6, &|| key.verify("", &[&digest], black_box(&sig)).unwrap());
        run(7, &|| {
            black_box(Signed::sign(black_box(task.clone()), &owner).unwrap());
        });
    }
    let [enc, enc_c, dec, dec_c, shape, open, verify, sign] = times.map(median);
    let figure = |name, ratio, bound, detail| Figure {
        name,
        ratio,
        bound,
        at_least: true,
        detail,
    };
    let rate = |us: f64| 1e6 / us;
    vec![
        figure(
            "fog task encode vs ciborium",
            enc_c / enc,
            3.0,
            format!("{enc:.2} us, {enc_c:.2} us; {} bytes", rec.len()),
        ),
        figure(
            "fog task decode vs ciborium",
            dec_c / dec,
            1.5,
            format!(
                "{dec:.2} us, of which {shape:.2} us types; {dec_c:.2} us without types or bounds"
            ),
        ),
        figure(
            "fog task opened vs its verification",
            verify / open,
            0.75,
            format!(
                "{:.0}/s opened, {:.0}/s verified, {:.0}/s signed",
                rate(open),
                rate(verify),
                rate(sign)
            ),
        ),
    ]
}
