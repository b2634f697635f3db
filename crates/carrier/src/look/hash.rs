//! A transcript of the messages as sent, which differ from those that rustls hands over.

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};

use super::hello::{self, Client};
use super::{AGREED, Agreed};

/// Hash of a suite.
pub(super) struct Transcript(&'static dyn Hash);

impl Transcript {
    pub(super) const fn of(inner: &'static dyn Hash) -> Self {
        Self(inner)
    }
}

impl Hash for Transcript {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Running {
            inner: self.0.start(),
            client: None,
            agreed: None,
            resumed12: false,
        })
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct Running {
    inner: Box<dyn Context>,
    client: Option<Client>,
    /// Set after the ServerHello of TLS 1.3.
    agreed: Option<Agreed>,
    /// Whether a TLS 1.2 session was resumed, after which no ticket follows.
    resumed12: bool,
}

impl Running {
    /// Replacement for a message of rustls, if it is rewritten.
    fn sent(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        match message.first()? {
            1 => {
                self.client = Client::of(message);
                None
            }
            2 => {
                let hello = hello::server_hello(message, self.client.as_ref())?;
                if hello.tls13 {
                    let agreed = Agreed {
                        group: hello.group,
                        resumed: hello.resumed,
                        named: self.client.as_ref().is_some_and(|c| c.named),
                    };
                    self.agreed = Some(agreed);
                    AGREED.set(agreed);
                } else {
                    self.resumed12 = hello.resumed;
                }
                Some(hello.message)
            }
            4 if self.resumed12 => Some(Vec::new()),
            8 => hello::encrypted_extensions(message, self.agreed?),
            _ => None,
        }
    }
}

impl Context for Running {
    fn fork_finish(&self) -> Output {
        self.inner.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self {
            inner: self.inner.fork(),
            client: self.client.clone(),
            agreed: self.agreed,
            resumed12: self.resumed12,
        })
    }

    fn finish(self: Box<Self>) -> Output {
        self.inner.finish()
    }

    /// rustls hands over whole messages, one at a time; a peer's messages have none of the rewritten types.
    fn update(&mut self, data: &[u8]) {
        match self.sent(data) {
            Some(sent) => self.inner.update(&sent),
            None => self.inner.update(data),
        }
    }
}
