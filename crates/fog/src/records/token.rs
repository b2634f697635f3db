use alloc::string::String;
use core::fmt;

use betanet_keys::{PublicKey, hash};
use betanet_wire::{NodeId, text};

use crate::item::record;
use crate::signed::SIGNED_MAX;
use crate::{Kind, List, Node, Received, Record, Refusal, RefusalCode, Signed, Text, Word, label};

const PREFIX: &str = "bnj1";
/// Bytes of the checksum.
const CHECK: usize = 4;
/// Longest token text: the text of the longest signed record.
const TEXT_MAX: usize = PREFIX.len() + (SIGNED_MAX + CHECK) * 8 / 5 + 1;

record! {
    /// A coordinator's permission for a node to join.
    pub struct Token {
        /// Its ID, by which it is revoked.
        "id" id: [u8; 16],
        /// Moment from which it is no longer valid, in UNIX ms.
        "exp" exp: u64,
        /// Public key of the coordinator, which signs this.
        "key" key: [u8; 32],
        /// The organisation that the node must have; empty means any.
        "org" org: Word,
        /// SHA-256 of the SPKI of the coordinator's TLS certificate; `None` means web PKI.
        "pin" pin: Option<[u8; 32]>,
        /// The node that it is for; `None` means any.
        "node" node: Option<NodeId>,
        /// Addresses of the coordinator.
        "addrs" addrs: List<Text>,
        /// Kinds of nodes that it is for.
        "kinds" kinds: List<Kind>,
    }
}

impl Record for Token {
    const LABEL: &'static str = label::TOKEN;
    const SIGNER: &'static str = "key";

    fn signer(&self) -> &[u8; 32] {
        &self.key
    }

    fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

const MALFORMED: Refusal = RefusalCode::TokenMalformed.bare();
const INVALID: Refusal = RefusalCode::TokenInvalid.bare();

fn checksum(signed: &[u8]) -> [u8; CHECK] {
    let h = hash(&[label::CHECKSUM.as_bytes(), signed]);
    [h[0], h[1], h[2], h[3]]
}

impl Received<Token> {
    /// Reads the text of a token, in any case. Its signature is not checked.
    ///
    /// # Errors
    ///
    /// `token_malformed`.
    pub fn from_text(token: &str) -> Result<Self, Refusal> {
        let prefix = token.get(..PREFIX.len()).ok_or(MALFORMED)?;
        if token.len() > TEXT_MAX || !prefix.eq_ignore_ascii_case(PREFIX) {
            return Err(MALFORMED);
        }
        let bytes = text::unbase32(&token[PREFIX.len()..]).ok_or(MALFORMED)?;
        let (signed, check) = bytes.split_last_chunk::<CHECK>().ok_or(MALFORMED)?;
        if *check != checksum(signed) {
            return Err(MALFORMED);
        }
        Self::read(signed).map_err(|_| MALFORMED)
    }
}

impl Signed<Token> {
    /// Reads the text of a token and checks its signature by the key that it names.
    ///
    /// # Errors
    ///
    /// `token_malformed` or `token_invalid`.
    pub fn from_text(token: &str) -> Result<Self, Refusal> {
        let received = Received::<Token>::from_text(token)?;
        let authentic = received.verify().map_err(|_| INVALID)?;
        authentic.check(0).map_err(|_| INVALID)
    }

    /// The text of the token.
    ///
    /// # Errors
    ///
    /// `bad_value` for a token whose text is over the 1 024 bytes of a join request's text.
    pub fn to_text(&self) -> Result<Text, Refusal> {
        let mut bytes = self.to_bytes();
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        let text: String = [PREFIX, &text::base32(&bytes)].concat();
        text.parse().map_err(|_| RefusalCode::BadValue.of("addrs"))
    }
}

/// What a cluster knows when a node asks to join.
#[derive(Clone, Copy)]
pub struct Joining<'a> {
    /// The node of the session; it must have signed the description.
    pub session: NodeId,
    /// UNIX ms.
    pub now_ms: u64,
    /// Keys of the cluster's coordinators.
    pub coordinators: &'a [PublicKey],
    /// The node that used a token of this ID.
    pub used: &'a dyn Fn(&[u8; 16]) -> Option<NodeId>,
    /// Whether the token of this ID was revoked.
    pub revoked: &'a dyn Fn(&[u8; 16]) -> bool,
}

impl fmt::Debug for Joining<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining")
            .field("session", &self.session)
            .field("now_ms", &self.now_ms)
            .finish_non_exhaustive()
    }
}

/// A node that may join.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admission {
    /// The node's description.
    pub node: Signed<Node>,
    /// The token that it used.
    pub token: Signed<Token>,
    /// Whether the node has used the token before: then the answer is the same again.
    pub again: bool,
}

impl Joining<'_> {
    /// Decides whether a node may join: first its description, then the token.
    ///
    /// # Errors
    ///
    /// The first check that fails. `not_yours` where the description is of another node than the session's.
    pub fn admit(&self, node: Received<Node>, token: &str) -> Result<Admission, Refusal> {
        let node = node.verify()?;
        if node.signer().node_id() != self.session {
            return Err(RefusalCode::NotYours.bare());
        }
        let node = node.check(self.now_ms)?;
        let token = Received::<Token>::from_text(token)?;
        let key = self
            .coordinators
            .iter()
            .find(|key| key.as_bytes() == token.signer())
            .ok_or(INVALID)?;
        let token = token.verify_with(key).map_err(|_| INVALID)?;
        let token = token.check(self.now_ms).map_err(|_| INVALID)?;
        let again = self.usable(&token, &node)?;
        Ok(Admission { node, token, again })
    }

    /// Checks use, expiry and scope of an authentic token, in this order.
    fn usable(&self, token: &Token, node: &Node) -> Result<bool, Refusal> {
        let revoked = (self.revoked)(&token.id);
        match (self.used)(&token.id) {
            Some(by) if by == self.session => return Ok(true),
            Some(_) => return Err(RefusalCode::TokenUsed.bare()),
            None if revoked => return Err(RefusalCode::TokenUsed.bare()),
            None => {}
        }
        if token.exp <= self.now_ms {
            return Err(RefusalCode::TokenExpired.bare());
        }
        let scope = token.kinds.contains(&node.kind)
            && token.node.is_none_or(|id| id == self.session)
            && (token.org.is_empty() || token.org == node.org);
        if scope {
            Ok(false)
        } else {
            Err(RefusalCode::TokenScope.bare())
        }
    }
}
