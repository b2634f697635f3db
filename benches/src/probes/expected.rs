//! Differences from nginx that have a reason. Whatever else differs fails the command, and so does a line here that nothing needs.

/// A difference that is known, and why it stays.
pub(super) struct Expected {
    /// Kinds whose names begin so; where it ends in `$`, the whole name.
    pub(super) kinds: &'static [&'static str],
    /// Fields whose names begin so; all of them, where it is empty.
    pub(super) fields: &'static [&'static str],
    pub(super) why: &'static str,
}

impl Expected {
    /// Whether this is the difference that is meant.
    pub(super) fn covers(&self, kind: &str, field: &str) -> bool {
        let kinds = self.kinds.iter().any(|k| match k.strip_suffix('$') {
            Some(whole) => kind == whole,
            None => kind.starts_with(k),
        });
        kinds && self.fields.iter().any(|f| field.starts_with(f))
    }
}

pub(super) const EXPECTED: &[Expected] = &[
    Expected {
        kinds: &[
            "tls cipher c024",
            "tls cipher c023",
            "tls cipher c00a",
            "tls cipher c009",
            "tls cipher c073",
            "tls cipher c072",
        ],
        fields: &[""],
        why: "rustls has no suites in CBC mode, which decide by padding that a peer chooses: it answers handshake_failure",
    },
    Expected {
        kinds: &["tls cipher c0a", "tls cipher c05"],
        fields: &[""],
        why: "rustls has neither CCM nor ARIA, which no browser offers: it answers handshake_failure",
    },
    Expected {
        kinds: &["tls group P-521$", "tls group x448$"],
        fields: &[""],
        why: "rustls has neither P-521 nor x448, which no browser offers alone: it answers handshake_failure",
    },
];
