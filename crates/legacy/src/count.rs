//! The interface between a translator and the metrics of legs.

/// Counts legs of version 1.1. `()` counts nothing.
pub trait CountLegs: Send + Sync {
    /// A leg was opened.
    fn opened(&self) {}

    /// A leg ended.
    fn closed(&self) {}
}

impl CountLegs for () {}
