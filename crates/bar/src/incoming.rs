use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::marker::PhantomData;

use betanet_wire::msg;
use bytes::Bytes;

use crate::{Error, HEAD_MAX, Head, Refusal};

/// A part of an exchange's incoming direction, in order: one head, bodies, one end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Part<H> {
    /// The head, without its inline body.
    Head(H),
    /// Bytes of the body.
    Body(Bytes),
    /// The body is complete.
    End,
}

/// Reads one direction of a BAR stream.
///
/// A head takes at most 65 540 bytes of memory; body bytes are passed on as they arrive.
#[derive(Debug, Hash)]
pub struct Incoming<H> {
    buffer: Vec<u8>,
    in_body: bool,
    bodiless: bool,
    announced: Option<u64>,
    got: u64,
    parts: VecDeque<Part<H>>,
    kind: PhantomData<H>,
}

impl<H> Default for Incoming<H> {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            in_body: false,
            bodiless: false,
            announced: None,
            got: 0,
            parts: VecDeque::new(),
            kind: PhantomData,
        }
    }
}

impl<H: Head> Incoming<H> {
    /// Adds bytes of the stream; `fin` marks its end.
    ///
    /// # Errors
    ///
    /// The stream is not a BAR exchange; the parts before the error stay readable.
    pub fn push(&mut self, mut data: Bytes, fin: bool) -> Result<(), Error> {
        if !self.in_body {
            self.buffer.extend_from_slice(&data);
            let Some((head, rest)) =
                msg::split(&self.buffer, HEAD_MAX).map_err(|_| Error::HeadTooLong)?
            else {
                return if fin { Err(Error::Ended) } else { Ok(()) };
            };
            let mut head = H::from_cbor(head)?;
            data = Bytes::copy_from_slice(rest);
            self.buffer = Vec::new();
            self.in_body = true;
            self.bodiless = !head.may_have_body();
            self.announced = head.headers().content_length().map_err(Error::Refused)?;
            let inline = head.take_body();
            self.parts.push_back(Part::Head(head));
            self.body(inline.into())?;
        }
        self.body(data)?;
        if fin {
            if let Some(announced) = self.announced
                && self.got < announced
            {
                return Err(Error::BodyShort {
                    announced,
                    got: self.got,
                });
            }
            self.parts.push_back(Part::End);
        }
        Ok(())
    }

    fn body(&mut self, data: Bytes) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        if self.bodiless {
            return Err(Error::Refused(Refusal::Body));
        }
        self.got += data.len() as u64;
        if let Some(announced) = self.announced
            && self.got > announced
        {
            return Err(Error::BodyLong { announced });
        }
        self.parts.push_back(Part::Body(data));
        Ok(())
    }

    /// Pops the next part.
    pub fn pop(&mut self) -> Option<Part<H>> {
        self.parts.pop_front()
    }

    /// Body bytes received so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.got
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::{Headers, Method, Request, Response};
    use proptest::prelude::*;

    fn read<H: Head>(bytes: &[u8], cuts: &[usize], fin: bool) -> Result<Vec<Part<H>>, Error> {
        let mut incoming = Incoming::default();
        let mut parts = Vec::new();
        let mut rest = bytes;
        for cut in cuts {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            incoming.push(Bytes::copy_from_slice(now), false)?;
            rest = later;
        }
        incoming.push(Bytes::copy_from_slice(rest), fin)?;
        parts.extend(core::iter::from_fn(|| incoming.pop()));
        Ok(parts)
    }

    proptest! {
        #[test]
        fn any_cutting_reads_the_same(
            inline in prop::collection::vec(any::<u8>(), 0..50),
            rest in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0usize..80, 0..8),
        ) {
            let mut response = Response::new(200);
            response.body = inline.clone();
            let mut bytes = response.to_message().unwrap();
            bytes.extend_from_slice(&rest);
            let parts = read::<Response>(&bytes, &cuts, true).unwrap();
            let body: Vec<u8> = parts.iter().filter_map(|p| match p {
                Part::Body(b) => Some(b.to_vec()),
                _ => None,
            }).flatten().collect();
            prop_assert_eq!(body, [inline, rest].concat());
            prop_assert!(matches!(parts.first(), Some(Part::Head(h)) if h.status == 200));
            prop_assert_eq!(parts.last(), Some(&Part::End));
        }
    }

    fn put(length: &str, body: &[u8]) -> Vec<u8> {
        let headers = Headers::default().with("content-length", length);
        let mut m = Request::new(Method::Put, "/x", headers)
            .to_message()
            .unwrap();
        m.extend_from_slice(body);
        m
    }

    #[test]
    fn a_body_is_as_long_as_it_said() {
        let got = |bytes: &[u8]| read::<Request>(bytes, &[], true).map(|p| p.len());
        assert_eq!(got(&put("3", b"abc")), Ok(3));
        let short = Error::BodyShort {
            announced: 3,
            got: 2,
        };
        assert_eq!(got(&put("3", b"ab")), Err(short));
        assert_eq!(
            got(&put("3", b"abcd")),
            Err(Error::BodyLong { announced: 3 })
        );
        assert_eq!(got(&put("0", b"")), Ok(2));
    }

    #[test]
    fn ends_and_bombs_are_named() {
        let get = Request::new(Method::Get, "/", Headers::default())
            .to_message()
            .unwrap();
        assert_eq!(read::<Request>(&get[..5], &[], true), Err(Error::Ended));
        let bomb = [0, 1, 0, 1];
        assert_eq!(read::<Request>(&bomb, &[], false), Err(Error::HeadTooLong));
        let mut with_body = get;
        with_body.push(1);
        let refused = Err(Error::Refused(Refusal::Body));
        assert_eq!(read::<Request>(&with_body, &[], true), refused);
    }
}
