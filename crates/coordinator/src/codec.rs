//! DET-CBOR of journal records and snapshots: arrays of values by position.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_fog::{Amounts, Resources, TaskId, Word};
use betanet_wire::NodeId;
use betanet_wire::cbor::{self, Reader, Writer};

/// Bytes that are no record or snapshot of this version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes are no {0} of this version")]
pub struct Damaged(pub &'static str);

/// A value that stands in records and snapshots.
pub(crate) trait Row: Sized {
    fn put(&self, w: &mut Writer);
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged>;
}

fn bad(_: cbor::Error) -> Damaged {
    Damaged("value")
}

/// Enters an array of exactly `n` items.
pub(crate) fn enter(r: &mut Reader<'_>, n: usize) -> Result<(), Damaged> {
    match r.array() {
        Ok(found) if found == n => Ok(()),
        _ => Err(Damaged("row")),
    }
}

/// Implements [`Row`] for a struct as an array of its fields. Those after `beside` are no part of it, and begin with their default.
macro_rules! row {
    ($name:ident { $($field:ident),* $(,)? } $(beside $($other:ident),*)?) => {
        impl $crate::codec::Row for $name {
            fn put(&self, w: &mut betanet_wire::cbor::Writer) {
                w.array([$(stringify!($field)),*].len());
                $($crate::codec::Row::put(&self.$field, w);)*
            }
            fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, $crate::codec::Damaged> {
                $crate::codec::enter(r, [$(stringify!($field)),*].len())?;
                $(let $field = $crate::codec::Row::get(r)?;)*
                r.leave();
                Ok(Self { $($field,)* $($($other: Default::default(),)*)? })
            }
        }
    };
}
pub(crate) use row;

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Row for $t {
            fn put(&self, w: &mut Writer) {
                w.unsigned(u64::from(*self));
            }
            fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
                let n = r.unsigned().map_err(bad)?;
                n.try_into().map_err(|_| Damaged("number"))
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64);

/// Implements [`Row`] for the chapter's words.
macro_rules! words {
    ($($t:ident)*) => {$(
        impl Row for betanet_fog::$t {
            fn put(&self, w: &mut Writer) {
                w.text(self.as_str());
            }
            fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
                Self::from_word(r.text().map_err(bad)?).ok_or(Damaged(stringify!($t)))
            }
        }
    )*};
}
words!(Kind Level NodeState Offline Outcome Reason Side Strategy TaskState Tier Verify);

impl Row for bool {
    fn put(&self, w: &mut Writer) {
        w.boolean(*self);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.boolean().map_err(bad)
    }
}

impl Row for Word {
    fn put(&self, w: &mut Writer) {
        w.text(self);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let text = r.text().map_err(bad)?;
        text.parse().map_err(|_| Damaged("word"))
    }
}

impl<const N: usize> Row for [u8; N] {
    fn put(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let bytes = r.bytes().map_err(bad)?;
        bytes.try_into().map_err(|_| Damaged("bytes"))
    }
}

impl Row for Box<[u8]> {
    fn put(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        r.bytes().map(Into::into).map_err(bad)
    }
}

impl Row for NodeId {
    fn put(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Row::get(r).map(Self)
    }
}

impl Row for TaskId {
    fn put(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        Row::get(r).map(Self)
    }
}

impl Row for Resources {
    fn put(&self, w: &mut Writer) {
        let a = self.amounts();
        [a.cpu, a.memory, a.storage, a.gpu, a.bandwidth, a.relay].put(w);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let [cpu, memory, storage, gpu, bandwidth, relay] = Row::get(r)?;
        Self::new(Amounts {
            cpu,
            memory,
            storage,
            gpu,
            bandwidth,
            relay,
        })
        .map_err(|_| Damaged("resources"))
    }
}

impl<const N: usize> Row for [u64; N] {
    fn put(&self, w: &mut Writer) {
        w.array(N);
        for n in self {
            w.unsigned(*n);
        }
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        enter(r, N)?;
        let mut out = [0; N];
        for n in &mut out {
            *n = Row::get(r)?;
        }
        r.leave();
        Ok(out)
    }
}

impl<T: Row> Row for Option<T> {
    fn put(&self, w: &mut Writer) {
        match self {
            Some(value) => value.put(w),
            None => w.null(),
        }
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        match r.kind().map_err(bad)? {
            cbor::Kind::Null => r.null().map(|()| None).map_err(bad),
            _ => T::get(r).map(Some),
        }
    }
}

impl<T: Row> Row for Vec<T> {
    fn put(&self, w: &mut Writer) {
        w.array(self.len());
        for item in self {
            item.put(w);
        }
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        let n = r.array().map_err(bad)?;
        let mut out = Self::with_capacity(n.min(64));
        for _ in 0..n {
            out.push(T::get(r)?);
        }
        r.leave();
        Ok(out)
    }
}

impl<A: Row, B: Row> Row for (A, B) {
    fn put(&self, w: &mut Writer) {
        w.array(2);
        self.0.put(w);
        self.1.put(w);
    }
    fn get(r: &mut Reader<'_>) -> Result<Self, Damaged> {
        enter(r, 2)?;
        let pair = (A::get(r)?, B::get(r)?);
        r.leave();
        Ok(pair)
    }
}
