//! Frame headers and payloads (profile chapter 2, "Frames").

use alloc::vec::Vec;

use betanet_wire::Code;
use betanet_wire::prim::{self, Fields};

/// Bytes before the ciphertext, all of them authenticated.
pub const HEADER: usize = 10;
/// The AEAD's tag.
pub const TAG: usize = 16;
/// The least that `Len` counts: type, stream, mark, tag.
pub const MIN_LEN: usize = 23;
/// A whole frame, at most.
pub const MAX_FRAME: usize = 65_535;
/// The fields of a STREAM payload before its data.
pub const STREAM_FIELDS: usize = 11;

/// `Mark` bit 0: a PING's answer (E-10).
pub const REPLY: u16 = 1;

/// Frame types.
pub mod ty {
    /// Bytes of a stream.
    pub const STREAM: u8 = 0x00;
    /// More credit.
    pub const WINDOW_UPDATE: u8 = 0x01;
    /// Are you there, or the answer to it.
    pub const PING: u8 = 0x02;
    /// The next key follows.
    pub const KEY_UPDATE: u8 = 0x03;
    /// The end of a stream or of the connection.
    pub const CLOSE: u8 = 0x04;
    /// L1's messages.
    pub const PATH_CONTROL: u8 = 0x20;
    /// Bytes to be dropped.
    pub const PADDING: u8 = 0x21;
}

/// The name of a frame type.
#[must_use]
pub const fn type_name(ty: u8) -> Option<&'static str> {
    Some(match ty {
        ty::STREAM => "STREAM",
        ty::WINDOW_UPDATE => "WINDOW_UPDATE",
        ty::PING => "PING",
        ty::KEY_UPDATE => "KEY_UPDATE",
        ty::CLOSE => "CLOSE",
        ty::PATH_CONTROL => "PATH_CONTROL",
        ty::PADDING => "PADDING",
        _ => return None,
    })
}

/// What a frame is, beside its payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The type.
    pub ty: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// Flags.
    pub mark: u16,
}

impl Head {
    /// A frame of the connection.
    #[must_use]
    pub const fn connection(ty: u8) -> Self {
        Self::of(ty, 0)
    }

    /// A frame of a stream.
    #[must_use]
    pub const fn of(ty: u8, stream: u32) -> Self {
        Self {
            ty,
            stream,
            mark: 0,
        }
    }

    /// The ten header bytes of a frame with a ciphertext of `sealed` bytes, tag included.
    #[must_use]
    pub fn to_bytes(self, sealed: usize) -> [u8; HEADER] {
        let len = u32::try_from(sealed + HEADER - 3).unwrap_or(u32::MAX);
        let [_, l1, l2, l3] = len.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [m0, m1] = self.mark.to_be_bytes();
        [l1, l2, l3, self.ty, s0, s1, s2, s3, m0, m1]
    }

    /// Reads the ten header bytes, without their length.
    #[must_use]
    pub const fn from_bytes(h: &[u8; HEADER]) -> Self {
        Self {
            ty: h[3],
            stream: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            mark: u16::from_be_bytes([h[8], h[9]]),
        }
    }
}

/// Why a payload does not fit its type; MALFORMED_FRAME, all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// `Len` under 23 or over 65 532.
    #[error("frame length {0} is out of bounds")]
    Length(usize),
    /// The payload is shorter or longer than its fields.
    #[error("the payload does not fit the frame type")]
    Payload,
    /// A flag, scope or mark bit that is not defined.
    #[error("a reserved bit is set")]
    Reserved,
    /// A stream where there must be none, or the reverse.
    #[error("the frame type does not go with that stream")]
    Stream,
    /// A type that is neither known nor skippable.
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
}

/// The length of the whole frame that begins here; `None` while its length is not there.
///
/// # Errors
///
/// [`FrameError::Length`], before anything is decrypted or waited for.
pub fn total_length(buf: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&[a, b, c]) = buf.first_chunk::<3>() else {
        return Ok(None);
    };
    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if len < MIN_LEN || len + 3 > MAX_FRAME {
        return Err(FrameError::Length(len));
    }
    Ok(Some(len + 3))
}

/// An opened frame, read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// Bytes of a stream.
    Stream {
        /// Where they stand.
        offset: u64,
        /// Whether they are the last.
        fin: bool,
        /// The bytes.
        data: &'a [u8],
    },
    /// More credit for the connection (`scope` 0) or the stream (1).
    WindowUpdate {
        /// 0 or 1.
        scope: u8,
        /// How much more.
        credit: u32,
    },
    /// Eight bytes to be returned, or the ones that were.
    Ping {
        /// The bytes.
        token: [u8; 8],
        /// Whether this is the answer.
        reply: bool,
    },
    /// The next key follows.
    KeyUpdate,
    /// The end.
    Close {
        /// Why.
        code: Code,
        /// In words.
        reason: &'a [u8],
    },
    /// L1's.
    PathControl(&'a [u8]),
    /// To be dropped.
    Padding,
    /// A type from 0x40 to 0x7F that is not known.
    Skipped(u8),
}

impl<'a> Frame<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn read(head: Head, payload: &'a [u8]) -> Result<Self, FrameError> {
        if (0x40..=0x7f).contains(&head.ty) {
            return Ok(Self::Skipped(head.ty));
        }
        let marks = if head.ty == ty::PING { REPLY } else { 0 };
        if type_name(head.ty).is_some() && head.mark & !marks != 0 {
            return Err(FrameError::Reserved);
        }
        let short = |_| FrameError::Payload;
        let mut f = Fields::new(payload);
        let on_connection = |ok| {
            if ok { Ok(()) } else { Err(FrameError::Stream) }
        };
        let frame = match head.ty {
            ty::STREAM => {
                on_connection(head.stream >= 1)?;
                let flags = f.u8().map_err(short)?;
                let offset = f.u64().map_err(short)?;
                let data = f.varstr().map_err(short)?;
                if flags > 1 {
                    return Err(FrameError::Reserved);
                }
                Self::Stream {
                    offset,
                    fin: flags == 1,
                    data,
                }
            }
            ty::WINDOW_UPDATE => {
                let scope = f.u8().map_err(short)?;
                let credit = f.u32().map_err(short)?;
                match scope {
                    0 => on_connection(head.stream == 0)?,
                    1 => on_connection(head.stream != 0)?,
                    _ => return Err(FrameError::Reserved),
                }
                Self::WindowUpdate { scope, credit }
            }
            ty::PING => {
                on_connection(head.stream == 0)?;
                Self::Ping {
                    token: f.array().map_err(short)?,
                    reply: head.mark == REPLY,
                }
            }
            ty::KEY_UPDATE => {
                on_connection(head.stream == 0)?;
                Self::KeyUpdate
            }
            ty::CLOSE => Self::Close {
                code: Code(f.u16().map_err(short)?),
                reason: f.varstr().map_err(short)?,
            },
            ty::PATH_CONTROL => {
                on_connection(head.stream == 0)?;
                return Ok(Self::PathControl(payload));
            }
            ty::PADDING => {
                on_connection(head.stream == 0)?;
                return Ok(Self::Padding);
            }
            other => return Err(FrameError::Type(other)),
        };
        if f.is_empty() {
            Ok(frame)
        } else {
            Err(FrameError::Payload)
        }
    }
}

/// The fields of a STREAM payload that stand before its data.
#[must_use]
pub fn stream_fields(offset: u64, fin: bool, len: u16) -> [u8; STREAM_FIELDS] {
    let mut out = [0; STREAM_FIELDS];
    out[0] = u8::from(fin);
    out[1..9].copy_from_slice(&offset.to_be_bytes());
    out[9..].copy_from_slice(&len.to_be_bytes());
    out
}

/// A WINDOW_UPDATE payload.
#[must_use]
pub fn window_update(scope: u8, credit: u32) -> [u8; 5] {
    let [a, b, c, d] = credit.to_be_bytes();
    [scope, a, b, c, d]
}

/// A CLOSE payload.
#[must_use]
pub fn close(code: Code, reason: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + reason.len());
    prim::put_u16(&mut out, code.0);
    prim::put_varstr(&mut out, reason.as_bytes());
    out
}
