//! Bounds of memories, tables and instances.

use wasmtime::ResourceLimiter;

use super::stop::Stop;

/// Most elements of one table.
pub(crate) const TABLE_MAX: usize = 10_000_000;
/// What an element of a table counts as.
const ELEMENT: u64 = 16;
/// Most memories, tables and instances of one program, which for a component are those of all its modules.
pub(crate) const MEMORIES_MAX: usize = 32;
pub(crate) const TABLES_MAX: usize = 128;
pub(crate) const INSTANCES_MAX: usize = 256;

/// Ends a guest that asks for more than it may have. What it holds is the sum of all its memories and tables.
pub(crate) struct Limiter {
    limit: u64,
    held: u64,
}

impl Limiter {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, held: 0 }
    }

    fn claim(&mut self, more: u64) -> Result<(), Stop> {
        let asked = self.held.saturating_add(more);
        if asked > self.limit {
            return Err(Stop::Memory {
                asked,
                limit: self.limit,
            });
        }
        self.held = asked;
        Ok(())
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum a memory does not grow, which the guest is told.
        if maximum.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        self.claim((desired - current) as u64)?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Not this guest's limit but the machine's: the same program would get on elsewhere.
        Err(error.context("the machine has too little memory"))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        if desired > TABLE_MAX {
            return Err(Stop::Table(desired as u64).into());
        }
        self.claim((desired - current) as u64 * ELEMENT)?;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// Whether the engine refused one memory, table or instance too many.
pub(crate) fn is_count(error: &wasmtime::Error) -> bool {
    let text = format!("{error}");
    text.starts_with("resource limit exceeded")
}
