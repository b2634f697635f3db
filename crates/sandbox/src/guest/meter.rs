//! Fuel that a guest has burned while it runs, and the moments when it hands control back.

use super::SLICE;

/// Calls back at least once in each slice of fuel: when a guest yields, or in one of its calls, which begin its slice anew.
pub(crate) struct Meter {
    fuel: u64,
    /// Burned at the last call.
    base: u64,
    /// Slices since.
    slices: u64,
    paid: u64,
    /// Whether every yield is a slice. Those of a component may be waits.
    exact: bool,
    hook: Box<dyn FnMut(u64) + Send>,
}

impl Meter {
    pub(crate) fn new(fuel: u64, exact: bool, hook: Box<dyn FnMut(u64) + Send>) -> Self {
        Self {
            fuel,
            base: 0,
            slices: 0,
            paid: 0,
            exact,
            hook,
        }
    }

    /// A call has ended with so much fuel left.
    pub(crate) fn called(&mut self, left: u64) {
        self.base = self.fuel.saturating_sub(left);
        self.slices = 0;
        if self.base.saturating_sub(self.paid) >= SLICE {
            self.pay();
        }
    }

    /// The guest has yielded.
    pub(crate) fn yielded(&mut self) {
        self.slices += 1;
        self.pay();
    }

    fn pay(&mut self) {
        let burned = if self.exact {
            self.base
                .saturating_add(self.slices.saturating_mul(SLICE))
                .min(self.fuel)
        } else {
            0
        };
        self.paid = burned;
        (self.hook)(burned);
    }
}
