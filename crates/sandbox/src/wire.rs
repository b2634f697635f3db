//! Messages between parent and child, over one socket.
//!
//! The parent's side is read by a child that trusts it. The child's side is read by a parent that does not: see `heard`.

use std::net::IpAddr;

use crate::{Limits, Status, guest::Host};

/// Most bytes of one frame of a child.
pub(crate) const FRAME_MAX: usize = 64 * 1024;
/// Most bytes of an order.
pub(crate) const ORDER_MAX: usize = 1 << 20;

/// A child's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The process that the parent started tells the number of the one that runs.
    Pid(u32),
    /// The cage is closed and the engine is ready.
    Ready {
        /// Which layers of the cage are closed.
        layers: u32,
        /// Digest of everything that compiled code depends on.
        key: [u8; 32],
    },
    /// Standard error.
    Log(Vec<u8>),
    /// Fuel burned so far.
    Progress(u64),
    /// A file begins.
    File {
        /// Its length.
        size: u64,
        /// Its path.
        path: String,
    },
    /// Bytes of that file.
    Data(Vec<u8>),
    /// An attempt of the self-test.
    Attempt {
        /// Whether the cage held.
        held: bool,
        /// Name of the attempt.
        name: String,
    },
    /// The run ends.
    End {
        /// How.
        status: Status,
        /// Fuel burned.
        fuel: u64,
        /// For people.
        reason: String,
    },
}

/// A parent's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Compiles the one file that comes with it.
    Compile,
    /// Runs the first file that comes with it; the others are inputs.
    Run(Box<Run>),
    /// Tries what a guest that broke out of the engine would.
    SelfTest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) component: bool,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Path and length of each.
    pub(crate) inputs: Vec<(String, u64)>,
    pub(crate) limits: Limits,
    pub(crate) clock: bool,
    pub(crate) random: bool,
    pub(crate) hosts: Option<Vec<Host>>,
    pub(crate) seed: [u8; 32],
    pub(crate) start_ms: u64,
    pub(crate) share: u8,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no message")]
pub(crate) struct Broken;

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let tag = match self {
            Self::Pid(pid) => {
                body.extend(pid.to_le_bytes());
                1
            }
            Self::Ready { layers, key } => {
                body.extend(layers.to_le_bytes());
                body.extend(key);
                2
            }
            Self::Log(bytes) => {
                body.extend(bytes);
                3
            }
            Self::Progress(fuel) => {
                body.extend(fuel.to_le_bytes());
                4
            }
            Self::File { size, path } => {
                body.extend(size.to_le_bytes());
                body.extend(path.as_bytes());
                5
            }
            Self::Data(bytes) => {
                body.extend(bytes);
                6
            }
            Self::Attempt { held, name } => {
                body.push(u8::from(*held));
                body.extend(name.as_bytes());
                7
            }
            Self::End {
                status,
                fuel,
                reason,
            } => {
                let (status, code) = number(*status);
                body.push(status);
                body.extend(code.to_le_bytes());
                body.extend(fuel.to_le_bytes());
                body.extend(reason.as_bytes());
                8
            }
        };
        let mut frame = vec![tag];
        frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.append(&mut body);
        frame
    }

    fn decode(tag: u8, body: &[u8]) -> Result<Self, Broken> {
        let mut take = Take(body);
        let frame = match tag {
            1 => Self::Pid(u32::from_le_bytes(take.array()?)),
            2 => Self::Ready {
                layers: u32::from_le_bytes(take.array()?),
                key: take.array()?,
            },
            3 => Self::Log(take.rest().to_vec()),
            4 => Self::Progress(take.u64()?),
            5 => Self::File {
                size: take.u64()?,
                path: text(take.rest())?,
            },
            6 => Self::Data(take.rest().to_vec()),
            7 => Self::Attempt {
                held: take.flag()?,
                name: text(take.rest())?,
            },
            8 => {
                let [status] = take.array()?;
                let status = status_of(status, i32::from_le_bytes(take.array()?))?;
                Self::End {
                    status,
                    fuel: take.u64()?,
                    reason: text(take.rest())?,
                }
            }
            _ => return Err(Broken),
        };
        take.end()?;
        Ok(frame)
    }
}

/// Frames out of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    held: Vec<u8>,
    at: usize,
}

impl Frames {
    /// Takes what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.at);
        self.at = 0;
        self.held.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The bytes read are no frame; nothing after them can be read.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Broken> {
        let held = &self.held[self.at..];
        let Some((&[tag, a, b, c, d], rest)) = held.split_first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > FRAME_MAX {
            return Err(Broken);
        }
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        let frame = Frame::decode(tag, body)?;
        self.at += 5 + len;
        Ok(Some(frame))
    }
}

fn number(status: Status) -> (u8, i32) {
    match status {
        Status::Ok => (0, 0),
        Status::Exit(code) => (1, code),
        Status::Trap => (2, 0),
        Status::Fuel => (3, 0),
        Status::Memory => (4, 0),
        Status::Output => (5, 0),
        Status::Module => (6, 0),
        Status::Time => (7, 0),
        Status::Input => (8, 0),
        Status::Internal => (9, 0),
    }
}

fn status_of(number: u8, code: i32) -> Result<Status, Broken> {
    Ok(match (number, code) {
        (0, 0) => Status::Ok,
        (1, code) if code != 0 => Status::Exit(code),
        (2, 0) => Status::Trap,
        (3, 0) => Status::Fuel,
        (4, 0) => Status::Memory,
        (5, 0) => Status::Output,
        (6, 0) => Status::Module,
        (7, 0) => Status::Time,
        (8, 0) => Status::Input,
        (9, 0) => Status::Internal,
        _ => return Err(Broken),
    })
}

fn text(bytes: &[u8]) -> Result<String, Broken> {
    Ok(std::str::from_utf8(bytes).map_err(|_| Broken)?.to_owned())
}

struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Broken)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, Broken> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Broken),
        }
    }

    fn count(&mut self) -> Result<usize, Broken> {
        let n = u32::from_le_bytes(self.array()?) as usize;
        // No item is shorter than a byte.
        if n > self.0.len() { Err(Broken) } else { Ok(n) }
    }

    fn text(&mut self) -> Result<String, Broken> {
        let n = self.count()?;
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        text(head)
    }

    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Broken>,
    ) -> Result<Vec<T>, Broken> {
        let n = self.count()?;
        (0..n).map(|_| item(self)).collect()
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Broken)
        }
    }
}

#[derive(Default)]
struct Put(Vec<u8>);

impl Put {
    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend(text.as_bytes());
    }

    fn count(&mut self, n: usize) {
        self.0
            .extend(u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }
}

impl Order {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        match self {
            Self::Compile => put.0.push(1),
            Self::SelfTest => put.0.push(3),
            Self::Run(run) => {
                put.0.push(2);
                run.put(&mut put);
            }
        }
        put.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        let mut take = Take(bytes);
        let order = match take.array()? {
            [1] => Self::Compile,
            [2] => Self::Run(Box::new(Run::take(&mut take)?)),
            [3] => Self::SelfTest,
            _ => return Err(Broken),
        };
        take.end()?;
        Ok(order)
    }
}

impl Run {
    fn put(&self, put: &mut Put) {
        put.flag(self.component);
        put.count(self.args.len());
        self.args.iter().for_each(|arg| put.text(arg));
        put.count(self.env.len());
        for (name, value) in &self.env {
            put.text(name);
            put.text(value);
        }
        put.count(self.inputs.len());
        for (path, size) in &self.inputs {
            put.text(path);
            put.u64(*size);
        }
        let Limits {
            fuel,
            wall,
            memory,
            output,
            files,
        } = self.limits;
        put.u64(fuel);
        put.u64(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        put.u64(memory);
        put.u64(output);
        put.u64(files.into());
        put.flag(self.clock);
        put.flag(self.random);
        put.flag(self.hosts.is_some());
        let hosts = self.hosts.as_deref().unwrap_or_default();
        put.count(hosts.len());
        for host in hosts {
            put.text(&host.name);
            put.u64(host.port.into());
            put.count(host.addresses.len());
            for address in &host.addresses {
                put.text(&address.to_string());
            }
        }
        put.0.extend(self.seed);
        put.u64(self.start_ms);
        put.0.push(self.share);
    }

    fn take(take: &mut Take<'_>) -> Result<Self, Broken> {
        let component = take.flag()?;
        let args = take.list(Take::text)?;
        let env = take.list(|t| Ok((t.text()?, t.text()?)))?;
        let inputs = take.list(|t| Ok((t.text()?, t.u64()?)))?;
        let limits = Limits {
            fuel: take.u64()?,
            wall: std::time::Duration::from_millis(take.u64()?),
            memory: take.u64()?,
            output: take.u64()?,
            files: u32::try_from(take.u64()?).map_err(|_| Broken)?,
        };
        let (clock, random, network) = (take.flag()?, take.flag()?, take.flag()?);
        let hosts = take.list(|t| {
            let name = t.text()?;
            let port = u16::try_from(t.u64()?).map_err(|_| Broken)?;
            let addresses = t.list(|t| t.text()?.parse::<IpAddr>().map_err(|_| Broken))?;
            Ok(Host {
                name,
                port,
                addresses,
            })
        })?;
        let (seed, start_ms, [share]) = (take.array()?, take.u64()?, take.array()?);
        let hosts = network.then_some(hosts);
        Ok(Self {
            component,
            args,
            env,
            inputs,
            limits,
            clock,
            random,
            hosts,
            seed,
            start_ms,
            share,
        })
    }
}

#[cfg(test)]
mod tests;
