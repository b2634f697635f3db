//! The ticket that makes a POST a tunnel (profile chapter 2, E-5 to E-7, E-29).

use alloc::format;
use alloc::string::String;

use betanet_keys::schedule::{expand, extract};
use betanet_keys::{PublicKey, same};
use betanet_wire::text;

/// Name of the HTTP field that carries the ticket.
pub const FIELD: &str = "bn-ticket";
/// Maximum length of name and value together.
pub const MAX: usize = 256;
/// The exporter's label in both epochs.
pub const EXPORTER_LABEL: &str = "betanet/1.2/inner";
/// The exporter's context in epoch 0: the empty DET-CBOR map.
pub const EXPORTER_CONTEXT: &[u8] = &[0xa0];

const TOK: usize = 120;

/// Why a field value is not a ticket.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The value is longer than [`MAX`], including the field's name.
    #[error("field and value are over 256 bytes")]
    TooLong,
    /// A key is missing, repeated or unknown, or the text is not `key=value`.
    #[error("the keys must be exactly v, tok and ctx")]
    Keys,
    /// The version is not `v1`.
    #[error("the version is not v1")]
    Version,
    /// The token is not 160 base64url characters between colons.
    #[error("tok is not 160 base64url characters between colons")]
    Token,
    /// The label is not 16 to 32 characters of `[A-Za-z0-9_-]` between quotes.
    #[error("ctx is not a label of 16 to 32 characters between quotes")]
    Label,
}

/// A well-formed ticket; [`Ticket::verify`] checks its token.
#[derive(Clone)]
pub struct Ticket {
    tok: [u8; TOK],
    label: String,
}

impl Ticket {
    /// The ticket that opens `responder`'s tunnel on the connection with this exporter value.
    ///
    /// # Errors
    ///
    /// [`TicketError::Label`].
    pub fn new(ekm0: &[u8; 32], responder: &PublicKey, label: &str) -> Result<Self, TicketError> {
        if !is_label(label) {
            return Err(TicketError::Label);
        }
        Ok(Self {
            tok: token(ekm0, responder, label),
            label: label.into(),
        })
    }

    /// A fresh label of 24 characters from 18 random bytes.
    #[must_use]
    pub fn fresh_label(random: &[u8; 18]) -> String {
        text::base64url(random)
    }

    /// Parses a field value.
    ///
    /// # Errors
    ///
    /// The value is malformed.
    pub fn parse(value: &str) -> Result<Self, TicketError> {
        if FIELD.len() + value.len() > MAX {
            return Err(TicketError::TooLong);
        }
        let (mut version, mut tok, mut label) = (None, None, None);
        for item in value.split(',') {
            let (key, value) = item
                .trim_matches([' ', '\t'])
                .split_once('=')
                .ok_or(TicketError::Keys)?;
            let slot = match key {
                "v" => &mut version,
                "tok" => &mut tok,
                "ctx" => &mut label,
                _ => return Err(TicketError::Keys),
            };
            if slot.replace(value).is_some() {
                return Err(TicketError::Keys);
            }
        }
        let (Some(version), Some(tok), Some(label)) = (version, tok, label) else {
            return Err(TicketError::Keys);
        };
        if version != "v1" {
            return Err(TicketError::Version);
        }
        let tok = enclosed(tok, ':')
            .and_then(text::unbase64url)
            .and_then(|t| t.try_into().ok())
            .ok_or(TicketError::Token)?;
        let label = enclosed(label, '"')
            .filter(|l| is_label(l))
            .ok_or(TicketError::Label)?;
        Ok(Self {
            tok,
            label: label.into(),
        })
    }

    /// Formats the field value.
    #[must_use]
    pub fn value(&self) -> String {
        format!(
            "v=v1, tok=:{}:, ctx=\"{}\"",
            text::base64url(&self.tok),
            self.label
        )
    }

    /// The label, which may be used once on its connection.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The 120 bytes of the token.
    #[must_use]
    pub const fn token(&self) -> &[u8; TOK] {
        &self.tok
    }

    /// Whether the ticket is valid for this connection and node; takes constant time.
    #[must_use]
    pub fn verify(&self, ekm0: &[u8; 32], responder: &PublicKey) -> bool {
        same(&self.tok, &token(ekm0, responder, &self.label))
    }
}

impl core::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ticket(…)")
    }
}

fn token(ekm0: &[u8; 32], responder: &PublicKey, label: &str) -> [u8; TOK] {
    let prk = extract(responder.as_bytes(), &[ekm0]);
    *expand::<TOK>(&prk, &[b"BN-Ticket v1", label.as_bytes()])
}

fn enclosed(text: &str, mark: char) -> Option<&str> {
    text.strip_prefix(mark)?.strip_suffix(mark)
}

fn is_label(text: &str) -> bool {
    (16..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use betanet_keys::Identity;

    #[test]
    fn right_for_its_connection_and_node_only() {
        let node = Identity::from_seed(&[1; 32]);
        let other = Identity::from_seed(&[2; 32]);
        let label = Ticket::fresh_label(&[7; 18]);
        let value = Ticket::new(&[3; 32], node.public(), &label)
            .unwrap()
            .value();
        assert!(FIELD.len() + value.len() <= MAX);
        let ticket = Ticket::parse(&value).unwrap();
        assert!(ticket.verify(&[3; 32], node.public()));
        assert!(!ticket.verify(&[4; 32], node.public()));
        assert!(!ticket.verify(&[3; 32], other.public()));
    }

    #[test]
    fn any_order_of_keys_is_read() {
        let node = Identity::from_seed(&[1; 32]);
        let t = Ticket::new(&[3; 32], node.public(), "abcdefghijklmnop").unwrap();
        let tok = text::base64url(t.token());
        let turned = format!("ctx=\"abcdefghijklmnop\",tok=:{tok}:,v=v1");
        assert!(
            Ticket::parse(&turned)
                .unwrap()
                .verify(&[3; 32], node.public())
        );
    }
}
