//! Frame headers and payloads (profile chapter 2, "Frames").

use alloc::vec::Vec;

use betanet_wire::Code;
use betanet_wire::prim::{self, Fields};

/// Length of the frame header, all of it authenticated.
pub const HEADER: usize = 10;
/// Length of the AEAD tag.
pub const TAG: usize = 16;
/// Minimum value of `Len`: type, stream, mark, tag.
pub const MIN_LEN: usize = 23;
/// Maximum length of a whole frame.
pub const MAX_FRAME: usize = 65_535;
/// Length of the fields before the data in a STREAM payload.
pub const STREAM_FIELDS: usize = 11;

/// `Mark` bit 0: the frame answers a PING (E-10).
pub const REPLY: u16 = 1;

/// Frame types.
pub mod ty {
    /// Data of a stream.
    pub const STREAM: u8 = 0x00;
    /// Grants flow-control credit.
    pub const WINDOW_UPDATE: u8 = 0x01;
    /// A PING, or the answer to one.
    pub const PING: u8 = 0x02;
    /// Announces that the sender's next frame uses the next key.
    pub const KEY_UPDATE: u8 = 0x03;
    /// Closes a stream or the connection.
    pub const CLOSE: u8 = 0x04;
    /// Messages of L1.
    pub const PATH_CONTROL: u8 = 0x20;
    /// Padding, which the receiver drops.
    pub const PADDING: u8 = 0x21;
}

/// Name of a frame type.
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

/// Header fields of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The frame type.
    pub ty: u8,
    /// The stream ID; 0 is the connection.
    pub stream: u32,
    /// Flags.
    pub mark: u16,
}

impl Head {
    /// Header of a frame for the connection.
    #[must_use]
    pub const fn connection(ty: u8) -> Self {
        Self::of(ty, 0)
    }

    /// Header of a frame for a stream.
    #[must_use]
    pub const fn of(ty: u8, stream: u32) -> Self {
        Self {
            ty,
            stream,
            mark: 0,
        }
    }

    /// The ten header bytes of a frame with `sealed` bytes of ciphertext, including the tag.
    #[must_use]
    pub fn to_bytes(self, sealed: usize) -> [u8; HEADER] {
        let len = u32::try_from(sealed + HEADER - 3).unwrap_or(u32::MAX);
        let [_, l1, l2, l3] = len.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [m0, m1] = self.mark.to_be_bytes();
        [l1, l2, l3, self.ty, s0, s1, s2, s3, m0, m1]
    }

    /// Parses the ten header bytes, without their length.
    #[must_use]
    pub const fn from_bytes(h: &[u8; HEADER]) -> Self {
        Self {
            ty: h[3],
            stream: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            mark: u16::from_be_bytes([h[8], h[9]]),
        }
    }
}

/// Why a payload does not fit its type; each case maps to MALFORMED_FRAME.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// `Len` is below 23 or above 65 532.
    #[error("frame length {0} is out of bounds")]
    Length(usize),
    /// The payload is shorter or longer than its fields.
    #[error("the payload does not fit the frame type")]
    Payload,
    /// An undefined flag, scope or mark bit is set.
    #[error("a reserved bit is set")]
    Reserved,
    /// The stream ID is set where it must be 0, or the reverse.
    #[error("the frame type does not go with that stream")]
    Stream,
    /// The type is neither known nor skippable.
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
}

/// Length of the whole frame that begins here; `None` while its length field is incomplete.
///
/// # Errors
///
/// [`FrameError::Length`], before anything is decrypted or awaited.
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

/// A decrypted and parsed frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// Data of a stream.
    Stream {
        /// Offset of the data in the stream.
        offset: u64,
        /// Whether the data ends the stream.
        fin: bool,
        /// The data.
        data: &'a [u8],
    },
    /// Credit for the connection (`scope` 0) or the stream (`scope` 1).
    WindowUpdate {
        /// 0 for the connection, 1 for the stream.
        scope: u8,
        /// Additional credit, bytes.
        credit: u32,
    },
    /// A PING, or the answer to one.
    Ping {
        /// Eight bytes that the answer returns unchanged.
        token: [u8; 8],
        /// Whether the frame is the answer.
        reply: bool,
    },
    /// The sender's next frame uses the next key.
    KeyUpdate,
    /// End of the stream or the connection.
    Close {
        /// The close code.
        code: Code,
        /// The close reason as text.
        reason: &'a [u8],
    },
    /// A message of L1.
    PathControl(&'a [u8]),
    /// Padding to be dropped.
    Padding,
    /// A frame of an unknown type from 0x40 to 0x7F.
    Skipped(u8),
}

impl<'a> Frame<'a> {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// The payload does not fit the type.
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

/// Encodes the fields before the data in a STREAM payload.
#[must_use]
pub fn stream_fields(offset: u64, fin: bool, len: u16) -> [u8; STREAM_FIELDS] {
    let mut out = [0; STREAM_FIELDS];
    out[0] = u8::from(fin);
    out[1..9].copy_from_slice(&offset.to_be_bytes());
    out[9..].copy_from_slice(&len.to_be_bytes());
    out
}

/// Encodes a WINDOW_UPDATE payload.
#[must_use]
pub fn window_update(scope: u8, credit: u32) -> [u8; 5] {
    let [a, b, c, d] = credit.to_be_bytes();
    [scope, a, b, c, d]
}

/// Encodes a CLOSE payload.
#[must_use]
pub fn close(code: Code, reason: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + reason.len());
    prim::put_u16(&mut out, code.0);
    prim::put_varstr(&mut out, reason.as_bytes());
    out
}
