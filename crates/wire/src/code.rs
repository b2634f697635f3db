use core::fmt;

/// A wire error code (profile chapter 1). Unknown numbers are kept as they are.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($n);)*

            /// The profile's name of this code, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($n => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// No error.
    OK = 0x0000;
    /// No common version, or the negotiation was tampered with.
    VERSION_NEGOTIATION_FAILED = 0x0001;
    /// A key, a signature, a handshake or a frame did not verify.
    AUTH_FAILED = 0x0002;
    /// A path header was refused.
    PATH_INVALID = 0x0003;
    /// A message that was received before.
    REPLAY = 0x0004;
    /// Bytes past the credit, or an impossible credit.
    FLOW_CONTROL_VIOLATION = 0x0005;
    /// A frame under a key that is no longer valid.
    OLD_KEY_FRAME = 0x0006;
    /// A frame or message that breaks the format.
    MALFORMED_FRAME = 0x0007;
    /// The sender of the code failed.
    INTERNAL_ERROR = 0x0008;
    /// The format allows it, but this node does not.
    POLICY_REJECTED = 0x0009;
    /// This node lacks the feature, or has switched it off.
    UNSUPPORTED_FEATURE = 0x000A;
    /// A tunnel request without a right ticket. For local use; never sent.
    L2_TICKET_INVALID = 0x8001;
    /// A template that EXTENDED profile does not know.
    L2_ORIGIN_MISMATCH = 0x8002;
    /// A bad signature in an alias record.
    ALIAS_SIG_INVALID = 0x8010;
    /// An alias sequence number that is not above the last.
    ALIAS_SEQ_REPLAY = 0x8011;
    /// Two valid rotations with one sequence number.
    ALIAS_ROTATION_CONFLICT = 0x8012;
    /// A voucher that does not verify.
    VOUCHER_INVALID = 0x8020;
    /// A voucher that was redeemed before.
    VOUCHER_SPENT = 0x8021;
    /// A stream whose credit stood at zero for too long.
    STALLED = 0x8030;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "code {:#06x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
