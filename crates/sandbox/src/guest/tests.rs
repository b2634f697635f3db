use super::*;

/// Floats, vectors, shifts and memory: results and fuel as the last 8 bytes of standard output.
const MIX: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "\20\00\00\00\40\00\00\00")
    (func (export "_start") (local $i i32) (local $x f64) (local $v v128) (local $n i64)
        (local.set $x (f64.const 1.5))
        (loop $again
            (local.set $x (f64.add (f64.mul (local.get $x) (f64.const 1.0000001)) (f64.sqrt (f64.convert_i32_u (local.get $i)))))
            (local.set $v (f32x4.add (f32x4.mul (f32x4.splat (f32.demote_f64 (local.get $x))) (local.get $v)) (f32x4.splat (f32.const 0.1))))
            (local.set $v (v128.xor (local.get $v) (i64x2.splat (i64.popcnt (i64.reinterpret_f64 (local.get $x))))))
            (local.set $n (i64.rotl (i64.xor (local.get $n) (i64.clz (i64.reinterpret_f64 (local.get $x)))) (i64.const 7)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))
        (f64.store (i32.const 32) (local.get $x))
        (v128.store (i32.const 48) (local.get $v))
        (i64.store (i32.const 64) (local.get $n))
        (f64.store (i32.const 72) (f64.div (f64.const 0) (f64.const 0)))
        (drop (call $w (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#;

fn here(wat: &str, plain: bool) -> (Ended, Vec<u8>) {
    let engine = engine::engine(plain).unwrap();
    let code = Code::Module(Module::new(&engine, wat::parse_str(wat).unwrap()).unwrap());
    let fs = Arc::new(Mutex::new(Fs::new(1 << 20, 10, 0, Box::new(|_| true))));
    let given = Given {
        args: Vec::new(),
        env: Vec::new(),
        fuel: 10_000_000,
        memory: 1 << 20,
        clock: Clock::virtual_at(0),
        random: Random::seeded([1; 32]),
        hosts: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ended = runtime.block_on(run(&engine, &code, given, &fs, Box::new(|_| ())));
    let fs = std::mem::replace(&mut *lock(&fs), Fs::new(0, 0, 0, Box::new(|_| true)));
    (ended, fs.into_files().unwrap().remove(0).1)
}

#[test]
fn results_and_fuel_do_not_depend_on_what_the_processor_can_do() {
    let (with, plain) = (here(MIX, false), here(MIX, true));
    assert_eq!(with.0.status, Status::Ok, "{}", with.0.reason);
    assert_eq!(with, plain);
    assert_eq!(with.1.len(), 64);
    // In debug and release builds alike, and on every machine.
    assert_eq!(with.0.fuel, 780_076);
    assert_eq!(
        with.1[40..48],
        f64::from_bits(0x7ff8_0000_0000_0000).to_le_bytes()
    );
}

#[test]
fn a_guest_that_calls_much_is_metered_as_one_that_computes() {
    use std::sync::atomic::{AtomicU64, Ordering};
    for (start, what) in [
        ("(loop (br 0))", "computing"),
        (
            "(loop (drop (call $r (i32.const 0) (i32.const 4096))) (br 0))",
            "calling",
        ),
    ] {
        let wat = format!(
            r#"(module (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
                (memory (export "memory") 1) (func (export "_start") {start}))"#
        );
        let engine = engine::engine(false).unwrap();
        let code = Code::Module(Module::new(&engine, wat::parse_str(wat).unwrap()).unwrap());
        let fs = Arc::new(Mutex::new(Fs::new(1 << 20, 10, 0, Box::new(|_| true))));
        let given = Given {
            args: Vec::new(),
            env: Vec::new(),
            fuel: 20 * SLICE,
            memory: 1 << 20,
            clock: Clock::virtual_at(0),
            random: Random::seeded([1; 32]),
            hosts: None,
        };
        let (count, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let hook = {
            let (count, last) = (count.clone(), last.clone());
            move |burned| {
                count.fetch_add(1, Ordering::Relaxed);
                assert!(
                    last.swap(burned, Ordering::Relaxed) <= burned,
                    "fuel ran back"
                );
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let ended = runtime.block_on(run(&engine, &code, given, &fs, Box::new(hook)));
        assert_eq!(ended.status, Status::Fuel, "{what}");
        assert!(
            (18..=21).contains(&count.load(Ordering::Relaxed)),
            "{what}: {count:?}"
        );
        assert!(
            last.load(Ordering::Relaxed) >= 18 * SLICE,
            "{what}: {last:?}"
        );
    }
}
