//! How fast fences die when many nodes of a zone fall silent.

/// How fast the fences of a zone's silent nodes die.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Brake {
    /// All at once.
    All,
    /// Those of so many nodes each 10 s, longest silent first.
    Slow(u64),
    /// None: no node is left in any zone, so the fault is here.
    None,
}

/// The brake of one zone.
///
/// `offline` of its nodes went offline in the last 10 minutes, `left` are active or draining. `elsewhere` is the number of
/// active and draining nodes of all zones.
#[must_use]
pub const fn brake(offline: u64, left: u64, elsewhere: u64) -> Brake {
    if elsewhere == 0 {
        Brake::None
    } else if offline >= 3 && 10 * offline > 3 * (offline + left) {
        Brake::Slow(offline.div_ceil(60))
    } else {
        Brake::All
    }
}
