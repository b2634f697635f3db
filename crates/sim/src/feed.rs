//! Feeds incoming requests to a handler that answers at once.

use betanet_bar::{Client, Error as BarError, Handler, Incoming, Part, Request, Response};
use bytes::Bytes;

/// The bytes are not a request, so there is no answer.
pub(crate) struct Malformed;

/// A request being read, with the handler's state for it.
pub(crate) struct Feed<H: Handler> {
    incoming: Incoming<Request>,
    pub(crate) exchange: Option<H::Exchange>,
}

impl<H: Handler> Default for Feed<H> {
    fn default() -> Self {
        Self {
            incoming: Incoming::default(),
            exchange: None,
        }
    }
}

impl<H: Handler> Feed<H> {
    /// Passes more of the request to the handler; returns the answer once there is one.
    pub(crate) fn take(
        &mut self,
        handler: &mut H,
        client: Client,
        data: Bytes,
        fin: bool,
    ) -> Result<Option<Response>, Malformed> {
        let pushed = self.incoming.push(data, fin);
        while let Some(part) = self.incoming.pop() {
            let answer = match (part, &mut self.exchange) {
                (Part::Head(request), _) => match handler.begin(client, request) {
                    Ok(exchange) => {
                        self.exchange = Some(exchange);
                        None
                    }
                    Err(response) => Some(response),
                },
                (Part::Body(bytes), Some(x)) => handler.body(x, &bytes).err(),
                (Part::End, Some(x)) => Some(handler.end(x)),
                (Part::Body(_) | Part::End, None) => None,
            };
            if answer.is_some() {
                return Ok(answer);
            }
        }
        match pushed {
            Ok(()) => Ok(None),
            Err(BarError::Refused(why)) => {
                // The handler's further input is not to be read.
                self.exchange = None;
                Ok(Some(Response::refused(why)))
            }
            Err(_) => Err(Malformed),
        }
    }
}
