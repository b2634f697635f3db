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
    Expected {
        kinds: &["tls record of 17 000$"],
        fields: &["end"],
        why: "what a refused client still sends is read here, where nginx leaves it and the kernel says RST",
    },
    Expected {
        kinds: &[
            "tls hello, then close_notify$",
            "tls session closed by the client",
        ],
        fields: &["records", "contents", "end"],
        why: "tokio-rustls answers close_notify with its own",
    },
    Expected {
        kinds: &[
            "h2 te: gzip$",
            "h2 connection field$",
            "h2 transfer-encoding field$",
            "h2 upper case name$",
            "h2 name with space$",
            "h2 value with newline$",
            "h2 no path$",
            "h2 no method$",
            "h2 no scheme$",
            "h2 two paths$",
            "h2 pseudo field behind others$",
            "h2 unknown pseudo field$",
            "h2 :status in a request$",
            "h2 path without slash$",
            "h2 path empty$",
            "h2 path with space$",
        ],
        fields: &[""],
        why: "`h2` resets a stream that is malformed by RFC 9113, or ends its connection, where nginx answers 400 or takes it",
    },
    Expected {
        kinds: &[
            "h2 DATA behind the end$",
            "h2 HEADERS",
            "h2 trailers$",
            "h2 WINDOW_UPDATE of 0, stream$",
            "post h2 no ticket, body too",
            "post h2 wrong ticket, body too",
            "post h2 malformed ticket, body too",
            "post h2 ticket twice, body too",
            "post h2 1.1 ticket, body too",
        ],
        fields: &[""],
        why: "`h2` finds what is wrong with a stream before its request is answered; nginx answers first",
    },
    Expected {
        kinds: &["h2 "],
        fields: &["control"],
        why: "`h2` reads on before it acknowledges SETTINGS, so that a connection that ends at once ends without that",
    },
    Expected {
        kinds: &[
            "h2 method lower case$",
            "h2 CONNECT$",
            "h2 host and authority differ$",
            "h2 no authority$",
        ],
        fields: &["frames", "header", "body"],
        why: "nginx answers 400 to a request that is right by RFC 9113",
    },
    Expected {
        kinds: &[
            "h2 RST_STREAM, 20 streams$",
            "h2 129 streams$",
            "h2 range, two$",
            "h2 CONTINUATION, empty, 20$",
        ],
        fields: &["frames", "header", "body", "reset", "goaway"],
        why: "what has left before more is read, in which pieces, and which of two faults is seen first, is by how a turn of either \
              program goes",
    },
];
