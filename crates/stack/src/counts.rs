//! A handler for tests.

use betanet_bar::{Client, Handler, ReadFailed, Request, Response, status};
use bytes::Bytes;

/// Counts what was begun, and answers unless it is told to be busy.
#[derive(Default)]
pub(crate) struct Counts(pub(crate) u32, pub(crate) bool);

impl Handler for Counts {
    type Exchange = ();

    fn begin(&mut self, _: Client, _: Request) -> Result<(), Response> {
        self.0 += 1;
        Ok(())
    }

    fn body(&mut self, (): &mut (), _: &[u8]) -> Result<(), Response> {
        Ok(())
    }

    fn end(&mut self, (): &mut ()) -> Response {
        Response::new(status::OK)
    }

    fn poll_end(&mut self, (): &mut ()) -> Option<Response> {
        (!self.1).then(|| self.end(&mut ()))
    }

    fn read(&mut self, (): &mut (), _: usize) -> Result<Bytes, ReadFailed> {
        Ok(Bytes::new())
    }
}
