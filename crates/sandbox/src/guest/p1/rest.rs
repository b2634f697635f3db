//! Calls on arguments, clocks, randomness and events. There are no sockets in preview 1 that a guest could have.

use std::time::Duration;

use super::{Mem, What};
use crate::guest::{
    Guest, lock,
    stop::{Answer, Errno},
};

/// Most subscriptions of one call.
const SUBSCRIPTIONS_MAX: i32 = 1024;

pub(super) fn args_get(mem: &mut Mem<'_>, guest: &mut Guest, list: i32, text: i32) -> Answer<()> {
    texts(mem, guest.args.clone(), list, text)
}

pub(super) fn args_sizes_get(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    count: i32,
    size: i32,
) -> Answer<()> {
    sizes(mem, &guest.args, count, size)
}

pub(super) fn environ_get(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    list: i32,
    text: i32,
) -> Answer<()> {
    texts(mem, variables(guest), list, text)
}

pub(super) fn environ_sizes_get(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    count: i32,
    size: i32,
) -> Answer<()> {
    sizes(mem, &variables(guest), count, size)
}

fn variables(guest: &Guest) -> Vec<String> {
    guest
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn texts(mem: &mut Mem<'_>, texts: Vec<String>, list: i32, text: i32) -> Answer<()> {
    let (mut list, mut at) = (list, text);
    for text in texts {
        mem.put_u32(list, at.cast_unsigned())?;
        mem.put(at, text.as_bytes())?;
        let end = at.wrapping_add(i32::try_from(text.len()).map_err(|_| Errno::Overflow)?);
        mem.put(end, &[0])?;
        (list, at) = (list.wrapping_add(4), end.wrapping_add(1));
    }
    Ok(())
}

fn sizes(mem: &mut Mem<'_>, texts: &[String], count: i32, size: i32) -> Answer<()> {
    let bytes: usize = texts.iter().map(|t| t.len() + 1).sum();
    mem.put_u32(
        count,
        u32::try_from(texts.len()).map_err(|_| Errno::Overflow)?,
    )?;
    mem.put_u32(size, u32::try_from(bytes).map_err(|_| Errno::Overflow)?)
}

pub(super) fn clock_res_get(mem: &mut Mem<'_>, guest: &mut Guest, id: i32, out: i32) -> Answer<()> {
    // Processor time would tell of the machine.
    if !(0..2).contains(&id) {
        return Err(Errno::NotSup.into());
    }
    let resolution = lock(&guest.clock).resolution();
    mem.put_u64(out, resolution)
}

pub(super) fn clock_time_get(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    id: i32,
    _: i64,
    out: i32,
) -> Answer<()> {
    let now = match id {
        0 => lock(&guest.clock).wall(),
        1 => lock(&guest.clock).monotonic(),
        _ => return Err(Errno::NotSup.into()),
    };
    mem.put_u64(out, now)
}

pub(super) fn random_get(mem: &mut Mem<'_>, guest: &mut Guest, into: i32, len: i32) -> Answer<()> {
    guest.random.fill(mem.get_mut(into, len)?)
}

/// One thing that a guest waits for.
struct Wait {
    user: [u8; 8],
    kind: u8,
    /// When a clock is due, on the monotonic clock; for a file at once.
    due: u64,
    answer: Answer<()>,
}

pub(super) fn poll_oneoff(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    subscriptions: i32,
    events: i32,
    count: i32,
    out: i32,
) -> Answer<()> {
    if !(1..=SUBSCRIPTIONS_MAX).contains(&count) {
        return Err(Errno::Inval.into());
    }
    let now = lock(&guest.clock).monotonic();
    let mut waits = Vec::new();
    for i in 0..count {
        let bytes = mem.get(subscriptions.wrapping_add(48 * i), 48)?.to_owned();
        waits.push(subscription(guest, now, &bytes)?);
    }
    let first = waits.iter().map(|w| w.due).min().unwrap_or(now);
    let now = sleep(guest, now, first);
    let mut at = events;
    let mut told = 0;
    for wait in waits.iter().filter(|w| w.due <= now) {
        let mut event = [0_u8; 32];
        event[..8].copy_from_slice(&wait.user);
        if let Err(crate::guest::stop::Fail::Errno(errno)) = wait.answer {
            event[8] = u8::try_from(errno.number()).unwrap_or(u8::MAX);
        }
        event[10] = wait.kind;
        // How many bytes are ready is not known; that there is at least one is all that it may say.
        event[16] = u8::from(wait.kind != 0);
        mem.put(at, &event)?;
        (at, told) = (at.wrapping_add(32), told + 1);
    }
    mem.put_u32(out, told)
}

fn subscription(guest: &mut Guest, now: u64, bytes: &[u8]) -> Answer<Wait> {
    let u64_at = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    let u32_at = |at: usize| {
        bytes
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, i32::from_le_bytes)
    };
    let user = u64_at(0).to_le_bytes();
    let kind = bytes[8];
    let (due, answer) = match kind {
        0 => {
            let (id, timeout, absolute) = (u32_at(16), u64_at(24), u32_at(40) & 1 != 0);
            match (id, absolute) {
                (0 | 1, false) => (now.saturating_add(timeout), Ok(())),
                (1, true) => (timeout, Ok(())),
                (0, true) => {
                    let wall = lock(&guest.clock).wall();
                    (now.saturating_add(timeout.saturating_sub(wall)), Ok(()))
                }
                _ => (0, Err(Errno::NotSup.into())),
            }
        }
        1 | 2 => {
            let answer = match guest.files.get(u32_at(16)) {
                Ok(What::Folder { .. }) => Err(Errno::Badf.into()),
                other => other.map(drop),
            };
            (0, answer)
        }
        _ => return Err(Errno::Inval.into()),
    };
    Ok(Wait {
        user,
        kind,
        due,
        answer,
    })
}

/// Waits, or moves the virtual clock on; the monotonic time afterwards.
fn sleep(guest: &Guest, now: u64, until: u64) -> u64 {
    let mut clock = lock(&guest.clock);
    if until > now {
        if clock.is_virtual() {
            clock.advance(until);
        } else {
            // The parent ends the process at the run's limit, however long this is.
            std::thread::sleep(Duration::from_nanos(until - now));
        }
    }
    until.max(now)
}

pub(super) fn sock_accept(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    _: i32,
    _: i32,
) -> Answer<()> {
    no_socket(guest, fd)
}

#[expect(clippy::too_many_arguments, reason = "these are the call's")]
pub(super) fn sock_recv(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
) -> Answer<()> {
    no_socket(guest, fd)
}

pub(super) fn sock_send(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    _: i32,
    _: i32,
    _: i32,
    _: i32,
) -> Answer<()> {
    no_socket(guest, fd)
}

pub(super) fn sock_shutdown(_: &mut Mem<'_>, guest: &mut Guest, fd: i32, _: i32) -> Answer<()> {
    no_socket(guest, fd)
}

fn no_socket(guest: &Guest, fd: i32) -> Answer<()> {
    guest.files.get(fd)?;
    Err(Errno::NotSock.into())
}
