//! Runs a program whose code is compiled.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime::Engine;

use super::{Gone, Voice, raw, share::Share, whole};
use crate::{
    Ended, Status,
    guest::{
        Code, Given,
        clock::{Clock, Random},
        fs::Fs,
        stop::Fail,
    },
    wire::{FRAME_MAX, Frame, Run},
};

/// Fuel between two reports of what is burned.
const REPORT: u64 = 64 * crate::guest::SLICE;

pub(super) fn run(
    (engine, runtime): (&Engine, &tokio::runtime::Runtime),
    voice: &Voice,
    socket: &Arc<UnixStream>,
    run: Run,
    (code, files): (&Code, impl Iterator<Item = OwnedFd>),
) -> Result<(), Gone> {
    let log = {
        let voice = voice.clone();
        move |bytes: &[u8]| {
            bytes
                .chunks(FRAME_MAX)
                .all(|part| voice.say(&Frame::Log(part.to_vec())).is_ok())
        }
    };
    let start = run.start_ms.saturating_mul(1_000_000);
    let mut fs = Fs::new(run.limits.output, run.limits.files, start, Box::new(log));
    for ((path, size), file) in run.inputs.iter().zip(files) {
        fs.add_input(path, File::from(file), *size)
            .map_err(|_| Gone::Order)?;
    }
    let fs = Arc::new(Mutex::new(fs));
    let real = run.clock || run.hosts.is_some();
    let given = Given {
        args: run.args,
        env: run.env,
        fuel: run.limits.fuel,
        memory: run.limits.memory,
        clock: if real {
            Clock::Real
        } else {
            Clock::virtual_at(run.start_ms)
        },
        random: if run.random {
            Random::Real
        } else {
            Random::seeded(run.seed)
        },
        hosts: run.hosts,
    };
    let mut share = Share::new(run.share);
    let mut next = REPORT;
    let hook = {
        let (voice, socket) = (voice.clone(), socket.clone());
        move |burned: u64| {
            share.pay(&socket);
            if burned >= next {
                next = burned.saturating_add(REPORT);
                // A parent that is gone takes this process with it.
                let _ = voice.say(&Frame::Progress(burned));
            }
        }
    };
    let ended = runtime.block_on(crate::guest::run(engine, code, given, &fs, Box::new(hook)));
    finish(voice, ended, &fs)
}

/// The code of a program. The parent vouches for it.
pub(super) fn load(engine: &Engine, component: bool, file: OwnedFd) -> Result<Code, Gone> {
    Ok(if component {
        Code::Component(raw::component(engine, &whole(&file)?)?)
    } else {
        Code::Module(raw::module(engine, File::from(file))?)
    })
}

/// Sends what the guest left, then how it ended.
fn finish(voice: &Voice, ended: Ended, fs: &Mutex<Fs>) -> Result<(), Gone> {
    let Ended {
        mut status,
        mut reason,
        fuel,
        ..
    } = ended;
    if matches!(status, Status::Ok | Status::Exit(_)) {
        let gone = Fs::new(0, 0, 0, Box::new(|_| false));
        let fs = std::mem::replace(
            &mut *fs.lock().unwrap_or_else(PoisonError::into_inner),
            gone,
        );
        match fs.into_files() {
            Ok(files) => files
                .iter()
                .try_for_each(|(path, bytes)| voice.file(path, bytes))?,
            Err(Fail::Stop(stop)) => (status, reason) = (Status::Output, stop.to_string()),
            Err(Fail::Errno(_)) => {
                (status, reason) = (
                    Status::Internal,
                    "its files do not hang together".to_owned(),
                );
            }
        }
    }
    Ok(voice.end(status, fuel, &reason)?)
}
