//! Bounds of memories, tables and instances.

use wasmtime::ResourceLimiter;

use super::stop::Stop;

/// Most elements of one table.
pub(crate) const TABLE_MAX: usize = 10_000_000;
/// Bytes that an element of a table counts as.
const ELEMENT: u64 = 16;
/// Most memories, tables and instances of one program, which for a component are those of all its modules.
pub(crate) const MEMORIES_MAX: usize = 32;
pub(crate) const TABLES_MAX: usize = 128;
pub(crate) const INSTANCES_MAX: usize = 256;

/// Ends a guest that asks for more than it may have. A guest's share is the sum of all its memories and tables.
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
        grow_failed(&error)
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

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        grow_failed(&error)
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

/// Requests that no memory or table can meet, in the engine's words. Every machine answers them with -1.
const BEYOND: [&str; 4] = [
    "memory growth exceeds memory type's limits",
    "Memory maximum size exceeded",
    "overflow calculating new table size",
    "Table maximum size exceeded",
];

/// Ends a guest whose memory or table did not grow for want of memory: the same program would get on elsewhere.
fn grow_failed(error: &wasmtime::Error) -> wasmtime::Result<()> {
    if BEYOND.contains(&format!("{error}").as_str()) {
        Ok(())
    } else {
        Err(Stop::Machine.into())
    }
}

/// Whether the machine refused memory, as opposed to a limit or a rule of WebAssembly.
pub(crate) fn is_machine(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>()
        || error
            .chain()
            .any(|cause| cause.is::<rustix::io::Errno>() || cause.is::<std::io::Error>())
}

/// Whether the engine refused one memory, table or instance too many.
pub(crate) fn is_count(error: &wasmtime::Error) -> bool {
    let text = format!("{error}");
    text.starts_with("resource limit exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_machine_could_give_is_answered() {
        for beyond in BEYOND {
            assert!(
                grow_failed(&wasmtime::Error::msg(beyond)).is_ok(),
                "{beyond}"
            );
        }
        let mut limiter = Limiter::new(1 << 20);
        let failed = [
            limiter.memory_grow_failed(wasmtime::Error::from(rustix::io::Errno::NOMEM)),
            limiter.table_grow_failed(wasmtime::Error::from(wasmtime::OutOfMemory::new(1))),
        ];
        for failed in failed {
            assert_eq!(failed.unwrap_err().downcast_ref(), Some(&Stop::Machine));
        }
    }

    #[test]
    fn want_of_memory_is_told_from_a_rule_of_webassembly() {
        let map = wasmtime::Error::from(rustix::io::Errno::NOMEM).context("mmap failed");
        assert!(is_machine(&map));
        assert!(is_machine(&wasmtime::OutOfMemory::new(1).into()));
        assert!(!is_machine(&wasmtime::Error::msg(
            "string is out of bounds"
        )));
        assert!(!is_machine(&wasmtime::Trap::UnreachableCodeReached.into()));
    }
}
