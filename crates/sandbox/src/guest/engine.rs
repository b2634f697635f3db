//! The engine's settings: every machine computes the same from the same.

use std::hash::{Hash as _, Hasher};

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Engine, OptLevel, Strategy};

/// Bytes of a guest's stack. Those of a fiber are twice as many, for the calls that it makes.
const STACK: usize = 1 << 20;

/// An engine. With `plain`, its code uses none of the processor's optional features: results must not depend on them.
pub(crate) fn engine(plain: bool) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_component_model(true)
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .consume_fuel(true)
        .max_wasm_stack(STACK)
        .async_stack_size(2 * STACK)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(None)
        .concurrency_support(false);
    if plain {
        // A named target begins without what the machine at hand could do.
        config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    }
    Engine::new(&config)
}

/// Digest of everything that compiled code depends on: the engine, its version and settings, the processor's features.
pub(crate) fn key(engine: &Engine) -> [u8; 32] {
    let mut hasher = Collect(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

struct Collect(Sha256);

impl Hasher for Collect {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    // The digest is taken instead.
    fn finish(&self) -> u64 {
        0
    }
}
