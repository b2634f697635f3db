//! Programs and inputs that try to get out, or to take the machine with them. Each ends with its named reason; the parent's
//! memory and disk stay as they were.

use std::{fs, path::Path, time::Duration};

use betanet_sandbox::{Ended, Input, Job, NetworkPolicy, Program, Status};

use crate::support::{Bench, component, module, program};

mod cases;
mod files;
mod p2;

/// One of them.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) what: What,
    pub(crate) job: Box<dyn FnOnce(&mut Job)>,
    pub(crate) status: Status,
    pub(crate) reason: &'static str,
}

pub(crate) enum What {
    Text(String),
    Bytes(Vec<u8>),
    Program(Box<dyn FnOnce(&Bench) -> Program>),
}

pub(crate) fn case(name: &str, wat: String, status: Status, reason: &'static str) -> Case {
    Case {
        name: name.to_owned(),
        what: What::Text(wat),
        job: Box::new(|_| {}),
        status,
        reason,
    }
}

impl Case {
    pub(crate) fn with(self, job: impl FnOnce(&mut Job) + 'static) -> Self {
        Self {
            job: Box::new(job),
            ..self
        }
    }
}

/// Memory of this process in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn disk(folder: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        total += if meta.is_dir() {
            disk(&entry.path())
        } else {
            meta.len()
        };
    }
    total
}

/// Processes that this one started and that have not ended.
fn children() -> usize {
    let me = std::process::id().to_string();
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let parent = |stat: &str| {
        stat.rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned))
    };
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok());
    pids.filter(|pid| stat(pid).and_then(|s| parent(&s)).is_some_and(|p| p == me))
        .count()
}

async fn run(bench: &Bench, case: Case) -> (Ended, Option<String>) {
    let program = match case.what {
        What::Text(wat) => match wat::parse_str(&wat) {
            Ok(bytes) => bench.program(&bytes),
            Err(error) => panic!("{}: {error}", case.name),
        },
        What::Bytes(bytes) => bench.program(&bytes),
        What::Program(make) => make(bench),
    };
    let mut job = bench.job();
    (case.job)(&mut job);
    let output = job.output.clone();
    let ended = bench.sandbox.run(program.clone(), job, |_: &[u8]| {}).await;
    let ok = ended.status == case.status && ended.reason.contains(case.reason);
    let ended_well = matches!(ended.status, Status::Ok | Status::Exit(_));
    // A separate thread removes the files of a program that did not end by itself.
    for _ in 0..200 {
        if ended_well || fs::read_dir(&output).unwrap().next().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let clean = ended_well || fs::read_dir(&output).unwrap().next().is_none();
    let wrong = (!ok || !clean).then(|| {
        format!(
            "{}: {:?} {:?}, clean {clean}, not {:?} {:?}",
            case.name, ended.status, ended.reason, case.status, case.reason
        )
    });
    if program.file.starts_with(bench.home.path()) {
        let _ = fs::remove_file(&program.file);
    }
    fs::remove_dir_all(&output).unwrap();
    (ended, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_gets_out() {
    /// Fewer bytes than the code of all of them has.
    const CODE_MAX: u64 = 256 << 10;
    let bench = Bench::with(|settings| settings.cache_max = CODE_MAX).await;
    // Any first run leaves buffers and the cache's folder behind, so one comes before the counts.
    let warm = bench.run(&program(&[], "", ""), bench.job()).await;
    assert_eq!(warm.status, Status::Ok, "{}", warm.reason);
    let (memory, kids) = (resident(), children());
    let mut wrong = Vec::new();
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .chain(files::all())
        .chain(p2::all())
        .chain(odd())
        .collect();
    let count = cases.len();
    assert!(count >= 60, "{count} cases");
    for case in cases {
        wrong.extend(run(&bench, case).await.1);
    }
    let honest = bench.run(&program(&[], "", ""), bench.job()).await;
    assert_eq!(honest.status, Status::Ok);
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let grown = resident().saturating_sub(memory);
    assert!(grown < 48 * 1024, "the parent grew by {grown} KiB");
    let code = bench.home.path().join("sandbox/code");
    let kept = disk(&code);
    assert!(kept > 0 && kept <= CODE_MAX, "{kept} bytes of code");
    fs::remove_dir_all(code).unwrap();
    let kept = disk(bench.home.path());
    assert!(kept < 1 << 20, "{kept} bytes are left on disk");
    for _ in 0..200 {
        if children() <= kids + 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} children are left of {kids}", children());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_is_mostly_nothing_is_refused_by_its_length() {
    let bench = Bench::new().await;
    let path = bench.home.path().join("sparse");
    let sparse = fs::File::create(&path).unwrap();
    for (len, status, reason) in [
        (1 << 40, Status::Input, "more than 4294967296 bytes"),
        ((1 << 32) + 1, Status::Input, "more than 4294967296 bytes"),
        (1 << 32, Status::Ok, "returned"),
    ] {
        sparse.set_len(len).unwrap();
        let mut job = bench.job();
        job.inputs = vec![file("a", path.to_str().unwrap())];
        let ended = bench.run(&program(&[], "", ""), job).await;
        assert_eq!(ended.status, status, "{len}: {}", ended.reason);
        assert!(ended.reason.contains(reason), "{len}: {}", ended.reason);
    }
}

/// Cases that are more than a text.
fn odd() -> Vec<Case> {
    let bytes = |name: &str, bytes: &[u8], reason| Case {
        name: name.to_owned(),
        what: What::Bytes(bytes.to_vec()),
        job: Box::new(|_| {}),
        status: Status::Module,
        reason,
    };
    let input = |name: &str, make: fn(&mut Job), reason| {
        let case = case(name, program(&[], "", ""), Status::Input, reason);
        case.with(make)
    };
    let empty = wat::parse_str("(module)").unwrap();
    let strange = |name: &str, make: fn(&Bench) -> Program, reason| Case {
        name: name.to_owned(),
        what: What::Program(Box::new(make)),
        job: Box::new(|_| {}),
        status: Status::Input,
        reason,
    };
    vec![
        bytes("nothing", b"", "no WebAssembly"),
        bytes("text", b"(module)", "no WebAssembly"),
        bytes(
            "a program of the machine",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0",
            "no WebAssembly",
        ),
        bytes("another version", b"\0asm\x02\0\0\0", "another version"),
        bytes("cut off", &empty[..empty.len().min(7)], "another version"),
        bytes(
            "a section cut off",
            b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f",
            "unexpected end-of-file",
        ),
        bytes(
            "a section of four gigabytes",
            b"\0asm\x01\0\0\0\x0a\xfe\xff\xff\xff\x0f\x01\x02",
            "function section is absent",
        ),
        bytes(
            "a component that is cut off",
            b"\0asm\x0d\0\x01\0\x04\x7f",
            "unexpected end-of-file",
        ),
        bytes(
            "a component that contains itself",
            b"\0asm\x0d\0\x01\0\x05\x04\x01\0\0\0",
            "unknown component 0",
        ),
        bytes(
            "functions without end",
            &many_functions(),
            "functions count exceeds limit",
        ),
        bytes("locals without end", &many_locals(), "locals"),
        input(
            "an input that is missing",
            |j| j.inputs = vec![file("a", "/nowhere/at/all")],
            "cannot be read",
        ),
        input(
            "an input that is a folder",
            |j| j.inputs = vec![file("a", "/etc")],
            "is no file",
        ),
        input(
            "an input that never ends",
            |j| j.inputs = vec![file("a", "/dev/zero")],
            "is no file",
        ),
        input(
            "an input above",
            |j| j.inputs = vec![file("../a", "/etc/hostname")],
            "relative path",
        ),
        input(
            "an absolute input",
            |j| j.inputs = vec![file("/a", "/etc/hostname")],
            "relative path",
        ),
        input(
            "an input in place of standard output",
            |j| j.inputs = vec![file("stdout", "/etc/hostname")],
            "relative path",
        ),
        input(
            "an input twice",
            |j| j.inputs = vec![file("a", "/etc/hostname"), file("a", "/etc/hostname")],
            "twice",
        ),
        input(
            "an input in another",
            |j| j.inputs = vec![file("a", "/etc/hostname"), file("a/b", "/etc/hostname")],
            "twice",
        ),
        input(
            "too many inputs",
            |j| {
                j.inputs = (0..65)
                    .map(|i| file(&i.to_string(), "/etc/hostname"))
                    .collect();
            },
            "at most",
        ),
        input(
            "a host's name without end",
            |j| {
                let hosts = vec![("x".repeat(256), 1)];
                j.grants.network = Some(NetworkPolicy {
                    hosts,
                    private: Vec::new(),
                });
            },
            "host's name",
        ),
        input(
            "arguments without end",
            |j| j.args = vec!["x".repeat(1 << 20)],
            "at most",
        ),
        input(
            "a zero byte in an argument",
            |j| j.args = vec!["a\0b".to_owned()],
            "zero byte",
        ),
        input(
            "a variable that is two",
            |j| j.env = vec![("a=b".to_owned(), String::new())],
            "variable",
        ),
        strange(
            "a wrong digest",
            |b| Program {
                digest: [9; 32],
                ..b.text("(module)")
            },
            "digest",
        ),
        strange(
            "a missing module",
            |b| Program {
                digest: [8; 32],
                file: b.home.path().join("none"),
            },
            "cannot be read",
        ),
        strange(
            "a module that is a pipe",
            |b| Program {
                digest: [5; 32],
                file: pipe(b),
            },
            "cannot be read",
        ),
        Case {
            name: "an input that is a pipe".to_owned(),
            what: What::Program(Box::new(|b| {
                pipe(b);
                b.text(&program(&[], "", ""))
            })),
            job: Box::new(|j| {
                let pipe = j.output.parent().unwrap().join("pipe");
                j.inputs = vec![file("a", pipe.to_str().unwrap())];
            }),
            status: Status::Input,
            reason: "is no file",
        },
        strange(
            "a module that never ends",
            |_| Program {
                digest: [6; 32],
                file: "/dev/zero".into(),
            },
            "cannot be read",
        ),
        case(
            "a start function that traps",
            module(
                &[],
                "(func $s unreachable) (start $s) (func (export \"_start\"))",
            ),
            Status::Trap,
            "unreachable",
        ),
        case(
            "a component that loops",
            component("(loop br 0) i32.const 0"),
            Status::Fuel,
            "fuel",
        ),
    ]
}

/// A pipe that nobody writes to.
fn pipe(bench: &Bench) -> std::path::PathBuf {
    let path = bench.home.path().join("pipe");
    let mode = rustix::fs::Mode::RWXU;
    // The second case that wants one finds it there.
    let _ = rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode);
    path
}

fn file(path: &str, file: &str) -> Input {
    Input {
        path: path.to_owned(),
        file: file.into(),
    }
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

/// More functions than a module may have, in a few bytes each.
fn many_functions() -> Vec<u8> {
    let count = 1_500_000;
    let types = section(1, &[1, 0x60, 0, 0]);
    let functions = section(3, &[leb(count), vec![0; count]].concat());
    let code = section(10, &[leb(count), [2, 0, 0x0b].repeat(count)].concat());
    [b"\0asm\x01\0\0\0".as_slice(), &types, &functions, &code].concat()
}

/// One function with four thousand million locals, in twenty bytes.
fn many_locals() -> Vec<u8> {
    let body = [&[1][..], &leb(u32::MAX as usize), &[0x7f, 0x0b]].concat();
    let code = section(10, &[vec![1], leb(body.len()), body].concat());
    let types = section(1, &[1, 0x60, 0, 0]);
    [
        b"\0asm\x01\0\0\0".as_slice(),
        &types,
        &section(3, &[1, 0]),
        &code,
    ]
    .concat()
}
