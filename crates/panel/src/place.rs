//! Where a right must hold.

/// Where a right must hold.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a namespace; `None` stands for all.
    In(Option<String>),
    /// In some namespace.
    Somewhere,
}
