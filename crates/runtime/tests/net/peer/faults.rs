//! What the second client does wrong, and how it reads the answer.

use tokio::net::TcpStream;

use super::{Peer, capabilities, message, selection_entries};

impl Peer {
    /// Performs the handshake, and offers this version of L2, which the server lacks. Selects it where this side decides.
    pub(crate) async fn offer(address: &str, server: &[u8; 32], seed: [u8; 32], htx: &str) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (mut this, _) = Self::shake(tcp, server, seed).await;
        let ours = message(&capabilities(htx, 0));
        this.stream(1, 0, &ours, false);
        if this.decided {
            let mut selection = vec![0xa5];
            selection_entries(htx, &mut selection);
            this.stream(1, ours.len() as u64, &message(&selection), false);
        }
        this
    }

    /// Sends a PING under the key before the last KEY_UPDATE.
    pub(crate) fn late_ping(&mut self) {
        std::mem::swap(&mut self.send, &mut self.before);
        self.frame(2, 0, 0, &[0; 8]);
        std::mem::swap(&mut self.send, &mut self.before);
    }

    /// Reads up to the carrier's reset. No CLOSE comes before it.
    pub(crate) async fn is_cut(&mut self) {
        loop {
            match self.body.data().await {
                None => panic!("the body ended in order"),
                Some(Err(_)) => return,
                Some(Ok(bytes)) => self
                    .body
                    .flow_control()
                    .release_capacity(bytes.len())
                    .unwrap(),
            }
        }
    }

    /// Reads up to the CLOSE of `stream`, and returns its code.
    pub(crate) async fn code(&mut self, stream: u32) -> u16 {
        loop {
            let frame = self.next().await;
            if (frame.ty, frame.mark) == (2, 0) {
                self.frame(2, 0, 1, &frame.payload);
            }
            if (frame.ty, frame.stream) == (4, stream) {
                return u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
            }
        }
    }
}
