//! An AliasRecord through our codec, ciborium's and minicbor's.

use std::hint::black_box;

use betanet_wire::{cbor, message};
use serde::{Deserialize, Serialize};

use crate::{Effort, Figure, median, spent};

message! {
    struct AliasRecord<'a> {
        req "ts" ts: u64,
        req "seq" seq: u64,
        req "sig" sig: &'a [u8; 64],
        req "node" node: &'a [u8; 20],
        req "alias" alias: &'a str,
    }
}

/// The same for serde; ciborium has byte strings through an adapter only.
#[derive(Deserialize, Serialize)]
struct SerdeRecord {
    ts: u64,
    seq: u64,
    sig: Bytes,
    node: Bytes,
    alias: String,
}

struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(v.to_vec()))
            }
        }
        d.deserialize_bytes(Visitor)
    }
}

/// What minicbor's derive would write if it knew text keys, which it does not (0.19): its own calls, in its order.
struct Mini<'b> {
    ts: u64,
    seq: u64,
    sig: &'b [u8; 64],
    node: &'b [u8; 20],
    alias: &'b str,
}

impl Mini<'_> {
    fn to_vec(&self) -> Vec<u8> {
        let mut e = minicbor::Encoder::new(Vec::new());
        let all = |e: &mut minicbor::Encoder<Vec<u8>>| {
            e.map(5)?
                .str("ts")?
                .u64(self.ts)?
                .str("seq")?
                .u64(self.seq)?
                .str("sig")?
                .bytes(self.sig)?
                .str("node")?
                .bytes(self.node)?
                .str("alias")?
                .str(self.alias)?;
            Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
        };
        all(&mut e).unwrap();
        e.into_writer()
    }
}

fn mini_decode(bytes: &[u8]) -> Result<Mini<'_>, minicbor::decode::Error> {
    let mut d = minicbor::Decoder::new(bytes);
    let (mut ts, mut seq, mut sig, mut node, mut alias) = (None, None, None, None, None);
    let exact = || minicbor::decode::Error::message("length");
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.str()? {
            "ts" => ts = Some(d.u64()?),
            "seq" => seq = Some(d.u64()?),
            "sig" => sig = Some(d.bytes()?.try_into().map_err(|_| exact())?),
            "node" => node = Some(d.bytes()?.try_into().map_err(|_| exact())?),
            "alias" => alias = Some(d.str()?),
            _ => d.skip()?,
        }
    }
    let missing = minicbor::decode::Error::missing_value;
    Ok(Mini {
        ts: ts.ok_or_else(|| missing(0))?,
        seq: seq.ok_or_else(|| missing(1))?,
        sig: sig.ok_or_else(|| missing(2))?,
        node: node.ok_or_else(|| missing(3))?,
        alias: alias.ok_or_else(|| missing(4))?,
    })
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let (sig, node) = ([7; 64], [9; 20]);
    let (ts, seq, alias) = (1_767_225_600_000, 41, "garden.example");
    let ours = AliasRecord {
        ts,
        seq,
        sig: &sig,
        node: &node,
        alias,
    };
    let serde = SerdeRecord {
        ts,
        seq,
        sig: Bytes(sig.to_vec()),
        node: Bytes(node.to_vec()),
        alias: alias.into(),
    };
    let mini = Mini {
        ts,
        seq,
        sig: &sig,
        node: &node,
        alias,
    };
    let bytes = cbor::to_vec(&ours);
    let mut ciborium_bytes = Vec::new();
    ciborium::into_writer(&serde, &mut ciborium_bytes).unwrap();
    assert_eq!(ciborium_bytes, bytes);
    assert_eq!(mini.to_vec(), bytes);
    let n = if effort.quick { 5_000 } else { 40_000 };
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..effort.rounds {
        let mut run = |at: usize, work: &dyn Fn()| {
            times[at].push(spent(|| (0..n).for_each(|_| work())) / f64::from(n) * 1e9);
        };
        run(0, &|| drop(black_box(cbor::to_vec(black_box(&ours)))));
        run(1, &|| {
            let mut out = Vec::new();
            ciborium::into_writer(black_box(&serde), &mut out).unwrap();
            black_box(out);
        });
        run(2, &|| drop(black_box(black_box(&mini).to_vec())));
        run(3, &|| {
            black_box(cbor::from_slice::<AliasRecord<'_>>(black_box(&bytes)).unwrap());
        });
        run(4, &|| {
            black_box(
                ciborium::from_reader::<SerdeRecord, _>(black_box(bytes.as_slice())).unwrap(),
            );
        });
        run(5, &|| {
            black_box(mini_decode(black_box(&bytes)).unwrap());
        });
    }
    let [enc, enc_c, enc_m, dec, dec_c, dec_m] = times.map(median);
    let figure = |name, ratio, bound, detail| Figure {
        name,
        ratio,
        bound,
        at_least: true,
        detail,
    };
    vec![
        figure(
            "cbor encode vs ciborium",
            enc_c / enc,
            3.0,
            format!("{enc:.0} ns, {enc_c:.0} ns"),
        ),
        figure(
            "cbor encode vs minicbor",
            enc_m / enc,
            1.0,
            format!("{enc:.0} ns, {enc_m:.0} ns"),
        ),
        figure(
            "cbor decode vs ciborium",
            dec_c / dec,
            5.0,
            format!("{dec:.0} ns, {dec_c:.0} ns"),
        ),
        figure(
            "cbor decode vs minicbor",
            dec_m / dec,
            1.0,
            format!("{dec:.0} ns, {dec_m:.0} ns"),
        ),
    ]
}
