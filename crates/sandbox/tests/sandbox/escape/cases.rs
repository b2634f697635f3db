//! Time, memory, imports and calls.

use std::time::Duration;

use betanet_sandbox::Status::{Exit, Fuel, Internal, Memory, Module, Ok, Time, Trap};

use super::{Case, case};
use crate::support::{component, module, program};

fn plain(start: &str) -> String {
    program(&[], "", start)
}

fn long(job: &mut betanet_sandbox::Job) {
    job.limits.fuel = u64::MAX / 4;
    job.limits.wall = Duration::from_millis(400);
}

pub(super) fn all() -> Vec<Case> {
    [time(), traps(), memory(), imports(), calls()]
        .into_iter()
        .flatten()
        .collect()
}

fn time() -> Vec<Case> {
    let wait = "(i64.store (i32.const 24) (i64.const 0x7fffffffffffffff))
        (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))";
    vec![
        case("a loop without end", plain("(loop (br 0))"), Fuel, "fuel"),
        case(
            "a loop with fuel without end",
            plain("(loop (br 0))"),
            Time,
            "longer than 400 ms",
        )
        .with(long),
        case(
            "a loop at the start",
            module(
                &[],
                "(func $s (loop (br 0))) (start $s) (func (export \"_start\"))",
            ),
            Fuel,
            "fuel",
        ),
        case(
            "yielding without end",
            program(
                &["sched_yield"],
                "",
                "(loop (drop (call $sched_yield)) (br 0))",
            ),
            Fuel,
            "fuel",
        ),
        case(
            "waiting for time that does not pass",
            program(
                &["clock_time_get"],
                "",
                "(loop (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 0))) (br 0))",
            ),
            Fuel,
            "fuel",
        ),
        case(
            "sleeping for ages",
            program(&["poll_oneoff"], "", wait),
            Ok,
            "returned",
        ),
        case(
            "sleeping for ages by the machine's clock",
            program(&["poll_oneoff"], "", wait),
            Time,
            "longer",
        )
        .with(|job| {
            long(job);
            job.grants.clock = true;
        }),
        case(
            "filling memory without end",
            plain("(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0))"),
            Time,
            "longer",
        )
        .with(long),
        case(
            "randomness without end",
            program(
                &["random_get"],
                "",
                "(loop (drop (call $random_get (i32.const 0) (i32.const 65536))) (br 0))",
            ),
            Fuel,
            "fuel",
        ),
        case("no fuel at all", plain("nop"), Fuel, "fuel").with(|job| job.limits.fuel = 1),
        case(
            "a component in its own loop",
            component("(loop br 0) i32.const 0"),
            Time,
            "longer",
        )
        .with(long),
    ]
}

fn traps() -> Vec<Case> {
    let f = |body: &str| module(&[], body);
    vec![
        case("unreachable", plain("unreachable"), Trap, "unreachable"),
        case(
            "a division by zero",
            plain("(drop (i32.div_u (i32.const 1) (local.get $i)))"),
            Trap,
            "divide by zero",
        ),
        case(
            "an overflow",
            plain(
                "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $i) (i32.const 1))))",
            ),
            Trap,
            "overflow",
        ),
        case(
            "a number that is none",
            plain("(drop (i32.trunc_f64_s (f64.const nan)))"),
            Trap,
            "conversion",
        ),
        case(
            "reading beyond memory",
            plain("(drop (i32.load (i32.const 65536)))"),
            Trap,
            "out of bounds",
        ),
        case(
            "writing far beyond memory",
            plain("(i64.store offset=0xffffffff (i32.const -1) (i64.const 1))"),
            Trap,
            "out of bounds",
        ),
        case(
            "copying beyond memory",
            plain("(memory.copy (i32.const 0) (i32.const 65000) (i32.const 65000))"),
            Trap,
            "out of bounds",
        ),
        case(
            "recursion",
            f("(func $r (export \"_start\") call $r)"),
            Trap,
            "call stack exhausted",
        ),
        case(
            "recursion of two",
            f("(func $a (export \"_start\") call $b) (func $b call $a)"),
            Trap,
            "call stack exhausted",
        ),
        case(
            "recursion through a table",
            f(
                "(table 1 funcref) (elem (i32.const 0) $r) (func $r (export \"_start\") (call_indirect (i32.const 0)))",
            ),
            Trap,
            "call stack exhausted",
        ),
        case(
            "a call of nothing",
            f("(table 1 funcref) (func (export \"_start\") (call_indirect (i32.const 0)))"),
            Trap,
            "uninitialized element",
        ),
        case(
            "a call beyond a table",
            f("(table 1 funcref) (func (export \"_start\") (call_indirect (i32.const 9)))"),
            Trap,
            "out of bounds",
        ),
        case(
            "a call by another type",
            f(
                "(table 1 funcref) (elem (i32.const 0) $f) (func $f (param i32)) (func (export \"_start\") (call_indirect (i32.const 0)))",
            ),
            Trap,
            "type mismatch",
        ),
        case(
            "an element beyond a table",
            f("(table 1 funcref) (elem (i32.const 7) $f) (func $f (export \"_start\"))"),
            Trap,
            "out of bounds",
        ),
        case(
            "data beyond memory",
            f("(data (i32.const 65530) \"too long a text\") (func (export \"_start\"))"),
            Trap,
            "out of bounds",
        ),
        case(
            "a signal",
            program(
                &["proc_raise"],
                "",
                "(drop (call $proc_raise (i32.const 9)))",
            ),
            Trap,
            "signal",
        ),
    ]
}

fn memory() -> Vec<Case> {
    let m = |body: &str| format!("(module {body})");
    let start = "(func (export \"_start\"))";
    vec![
        case("memory from the start", m(&format!("(memory 20000) {start}")), Memory, "memories and tables"),
        case("all memory there is", m(&format!("(memory 65536) {start}")), Memory, "memories and tables"),
        case("growing without end", plain("(loop (drop (memory.grow (i32.const 10))) (br 0))"), Memory, "memories and tables"),
        case("growing to all there is", plain("(drop (memory.grow (i32.const 65535)))"), Memory, "memories and tables"),
        case(
            "two memories that together are too much",
            m(&format!("(memory 600) (memory 600) {start}")),
            Memory,
            "memories and tables",
        ),
        case("memories without end", m(&format!("{} {start}", "(memory 0)".repeat(40))), Memory, "memory count"),
        case("a memory of 64 bits", m(&format!("(memory i64 1000000) {start}")), Memory, "memories and tables"),
        case("a table from the start", m(&format!("(table 9000000 funcref) {start}")), Memory, "memories and tables"),
        case(
            "a table that grows",
            m("(table 1 funcref) (func (export \"_start\") (loop (drop (table.grow (ref.null func) (i32.const 100000))) (br 0)))"),
            Memory,
            "memories and tables",
        ),
        case("a table beyond all", m("(table 1 funcref) (func (export \"_start\") (drop (table.grow (ref.null func) (i32.const 20000000))))"), Memory, "table of").with(|job| job.limits.fuel = 1 << 30),
        case(
            "growing beyond what a memory can be",
            program(
                &["proc_exit"],
                "",
                "(if (i32.eq (memory.grow (i32.const 65536)) (i32.const -1)) (then (call $proc_exit (i32.const 9))))",
            ),
            Exit(9),
            "exited",
        )
        .with(unlimited),
        case(
            "growing beyond what a table can be",
            m(&format!(
                "{} (table 1 10 funcref) (memory (export \"memory\") 1) (func (export \"_start\")
                    (if (i32.eq (table.grow (ref.null func) (i32.const 10)) (i32.const -1)) (then (call $proc_exit (i32.const 9)))))",
                crate::support::wasi(&["proc_exit"])
            )),
            Exit(9),
            "exited",
        )
        .with(unlimited),
        case(
            "memory that no machine has, by growing",
            m("(memory i64 1) (func (export \"_start\") (drop (memory.grow (i64.const 0x80000000))))"),
            Internal,
            "the machine has too little memory",
        )
        .with(unlimited),
        case(
            "memory that no machine has, from the start",
            m(&format!("(memory i64 0x80000000) {start}")),
            Internal,
            "the machine has too little memory",
        )
        .with(unlimited),
        case("instances without end", many_instances(), Memory, "instance count"),
    ]
}

fn unlimited(job: &mut betanet_sandbox::Job) {
    job.limits.memory = u64::MAX / 4;
}

fn many_instances() -> String {
    let one: String = (0..400)
        .map(|_| "(core instance (instantiate $m))")
        .collect();
    component("i32.const 0").replacen("(core instance $i", &format!("{one}(core instance $i"), 1)
}

/// A component of parts that name each other by number.
fn cycle(parts: &str) -> String {
    format!("(component {parts})")
}

fn imports() -> Vec<Case> {
    let m = |body: &str| format!("(module {body} (func (export \"_start\")))");
    vec![
        case("another module's function", m("(import \"env\" \"system\" (func (param i32) (result i32)))"), Module, "env::system"),
        case("an older WASI", m("(import \"wasi_unstable\" \"fd_write\" (func))"), Module, "wasi_unstable::fd_write"),
        case("a function that WASI lacks", m("(import \"wasi_snapshot_preview1\" \"exec\" (func))"), Module, "exec"),
        case("a function of another type", m("(import \"wasi_snapshot_preview1\" \"fd_close\" (func (param i64)))"), Module, "fd_close"),
        case("somebody's memory", m("(import \"env\" \"memory\" (memory 1))"), Module, "env::memory"),
        case("threads", m("(memory 1 1 shared)"), Module, "thread"),
        case("collected objects", m("(type (struct (field i32)))"), Module, "gc types are disabled"),
        case("no start", "(module)".to_owned(), Module, "exports no function `_start`"),
        case("a start with arguments", "(module (func (export \"_start\") (param i32)))".to_owned(), Module, "takes or returns"),
        case("a start that is no function", "(module (memory (export \"_start\") 1))".to_owned(), Module, "exports no function"),
        case(
            "calls without a memory",
            "(module (import \"wasi_snapshot_preview1\" \"fd_close\" (func $c (param i32) (result i32))) (func (export \"_start\") (drop (call $c (i32.const 3)))))".to_owned(),
            Module,
            "without a memory",
        ),
        case("a component without a program", "(component)".to_owned(), Module, "run"),
        case("a component that wants the web", "(component (import \"wasi:http/types@0.2.0\" (instance (export \"x\" (func)))))".to_owned(), Module, "instance `wasi:http/types@0.2.0`"),
        case("an instance of what comes later", cycle("(core instance (instantiate 0)) (core module)"), Module, "unknown module 0"),
        case("an instance that is given itself", cycle("(core module (import \"a\" \"b\" (func))) (core instance (instantiate 0 (with \"a\" (instance 0))))"), Module, "unknown core instance 0"),
        case("instances that are given each other", cycle("(core module) (core instance (instantiate 0 (with \"a\" (instance 1)))) (core instance (instantiate 0 (with \"a\" (instance 0))))"), Module, "unknown core instance 1"),
        case("a component in itself", cycle("(instance (instantiate 0)) (component)"), Module, "unknown component 0"),
        case("an alias of what comes later", cycle("(alias core export 0 \"a\" (core func)) (core module) (core instance (instantiate 0))"), Module, "unknown core instance 0"),
        case("an alias of a component's own export", cycle("(alias export 0 \"a\" (instance)) (export \"a\" (instance 0))"), Module, "unknown instance 0"),
        case("a type that holds itself", cycle("(type (list 0))"), Module, "unknown type 0"),
        case("a component that wants a shell", "(component (import \"shell\" (func)))".to_owned(), Module, "shell"),
    ]
}

fn calls() -> Vec<Case> {
    let exit = |names: &[&str], data: &str, call: &str| {
        let names: Vec<&str> = names.iter().copied().chain(["proc_exit"]).collect();
        program(&names, data, &format!("(call $proc_exit {call})"))
    };
    let far = "(data (i32.const 8) \"\\00\\00\\ff\\7f\\00\\00\\01\\00\")";
    vec![
        case(
            "a buffer beyond memory",
            exit(
                &["fd_write"],
                far,
                "(call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))",
            ),
            Exit(21),
            "exited",
        ),
        case(
            "buffers without end",
            exit(
                &["fd_write"],
                "",
                "(call $fd_write (i32.const 1) (i32.const 8) (i32.const -1) (i32.const 0))",
            ),
            Exit(28),
            "exited",
        ),
        case(
            "an answer beyond memory",
            exit(
                &["fd_write"],
                "",
                "(call $fd_write (i32.const 1) (i32.const 8) (i32.const 0) (i32.const -2))",
            ),
            Exit(21),
            "exited",
        ),
        case(
            "randomness beyond memory",
            exit(
                &["random_get"],
                "",
                "(call $random_get (i32.const 8) (i32.const -1))",
            ),
            Exit(21),
            "exited",
        ),
        case(
            "arguments beyond memory",
            exit(
                &["args_get"],
                "",
                "(call $args_get (i32.const -4) (i32.const 0))",
            ),
            Exit(21),
            "exited",
        ),
        case(
            "events without end",
            exit(
                &["poll_oneoff"],
                "",
                "(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 1000000) (i32.const 0))",
            ),
            Exit(28),
            "exited",
        ),
        case(
            "the processor's clock",
            exit(
                &["clock_time_get"],
                "",
                "(call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 0))",
            ),
            Exit(58),
            "exited",
        ),
        case(
            "a descriptor that leaked",
            exit(
                &["fd_fdstat_get"],
                "",
                "(call $fd_fdstat_get (i32.const 5) (i32.const 0))",
            ),
            Exit(8),
            "exited",
        ),
        case(
            "another folder",
            exit(
                &["fd_prestat_get"],
                "",
                "(call $fd_prestat_get (i32.const 4) (i32.const 0))",
            ),
            Exit(8),
            "exited",
        ),
        case(
            "the socket",
            exit(
                &["fd_filestat_set_size"],
                "",
                "(call $fd_filestat_set_size (i32.const 0) (i64.const 1))",
            ),
            Exit(8),
            "exited",
        ),
    ]
}
