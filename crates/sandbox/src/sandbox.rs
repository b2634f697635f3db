//! The sandbox: takes programs and jobs, and says how they ended.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use crate::{
    Ended, Error, Job, Limits, Program, Settings, Sink, Status,
    child::Layer,
    heard::{Told, sorted},
    job::{INPUT_MAX, MODULE_MAX},
    parent::{
        cache::{self, CODE_MAX, Cache},
        code::{Code, Memory, Sealed},
        keep::Keeper,
        nursery::Nursery,
        pool::Pool,
        refused::Refused,
        resolve::Resolver,
    },
    wire::{Frame, Frames, Order, Run},
};

mod listen;

use listen::{Burned, Silence, To, listen};

/// The engine, as receipts name it.
pub const ENGINE: &str = "wasmtime 48.0.8";
/// How long a program may be compiled.
const COMPILE: Limits = Limits {
    fuel: 0,
    wall: Duration::from_secs(120),
    memory: 0,
    output: CODE_MAX,
    files: 0,
};
/// How long the self-test may take.
const SELF_TEST: Duration = Duration::from_secs(10);

/// Runs programs, each in a process of its own. Clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    cache: Cache,
    layers: u32,
    /// One program is compiled at a time.
    compiling: Semaphore,
    refused: Refused,
    resolver: Resolver,
}

/// One attempt of the self-test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Name of the attempt.
    pub name: String,
    /// Whether the filter of system calls refused it.
    pub held: bool,
}

impl Sandbox {
    /// Opens the folder, starts a child to see that it can, and makes children ready.
    ///
    /// # Errors
    /// The folder, its key, or a child that does not get ready.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let nursery = Nursery::open(settings.child, settings.idle)?;
        let first = nursery.kid(false).await?;
        let (key, layers) = (first.key(), first.layers());
        let (folder, max) = (settings.folder, settings.cache_max);
        let cache = tokio::task::spawn_blocking(move || Cache::open(&folder, key, max)).await;
        let cache = cache.map_err(|_| Error::Ended)??;
        let pool = Pool::new(nursery, settings.spare, layers);
        pool.keep(first);
        pool.fill();
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                cache,
                layers,
                compiling: Semaphore::new(1),
                refused: Refused::default(),
                resolver: Resolver::default(),
            }),
        })
    }

    /// Name and version of the engine, for receipts.
    #[must_use]
    pub fn engine(&self) -> &str {
        ENGINE
    }

    /// The layers that this machine closes around a program, by name. A child with fewer takes no program.
    #[must_use]
    pub fn layers(&self) -> Vec<&'static str> {
        Layer::ALL
            .into_iter()
            .filter(|layer| self.inner.layers & layer.bit() != 0)
            .map(Layer::name)
            .collect()
    }

    /// The layers that this machine refuses.
    #[must_use]
    pub fn missing_layers(&self) -> Vec<&'static str> {
        Layer::ALL
            .into_iter()
            .filter(|layer| self.inner.layers & layer.bit() == 0)
            .map(Layer::name)
            .collect()
    }

    /// Stops all children, or lets them go on. The time of a pause counts in no limit of a run.
    pub fn pause(&self, paused: bool) {
        self.inner.pool.pause(paused);
    }

    /// Gives each program this many percent of a core.
    pub fn set_share(&self, percent: u8) {
        self.inner.pool.share.send_replace(percent.clamp(1, 100));
    }

    /// Runs a program. Dropping the future ends the process and removes what it left.
    pub async fn run(&self, program: Program, job: Job, sink: impl Sink) -> Ended {
        match self.try_run(program, job, sink).await {
            Ok(ended) | Err(ended) => ended,
        }
    }

    async fn try_run(
        &self,
        program: Program,
        job: Job,
        mut sink: impl Sink,
    ) -> Result<Ended, Ended> {
        job.check()
            .map_err(|wrong| Ended::new(Status::Input, wrong.to_string()))?;
        let folders = job.folders();
        let code = self.inner.code(&program).await?;
        let inputs = job
            .inputs
            .iter()
            .map(|input| (input.path.clone(), input.file.clone()))
            .collect();
        let inputs = tokio::task::spawn_blocking(|| open(inputs))
            .await
            .map_err(|_| broken("a thread"))??;
        let hosts = match &job.grants.network {
            Some(policy) => Some(self.inner.resolver.hosts(policy).await),
            None => None,
        };
        let share = *self.inner.pool.share.borrow();
        let network = hosts.is_some();
        let order = Order::Run(Box::new(Run {
            component: code.component,
            args: job.args,
            env: job.env,
            inputs: inputs
                .iter()
                .map(|(path, _, size)| (path.clone(), *size))
                .collect(),
            limits: job.limits,
            clock: job.grants.clock,
            random: job.grants.random,
            hosts,
            seed: job.seed,
            start_ms: job.start_ms,
            share,
        }));
        let mut running = self
            .inner
            .pool
            .take(network)
            .await
            .map_err(|error| broken(&error.to_string()))?;
        let own = code.sealed.handle();
        let own = own.map_err(|error| broken(&format!("its code: {error}")))?;
        let files: Vec<BorrowedFd<'_>> = std::iter::once(own.as_fd())
            .chain(inputs.iter().map(|(_, file, _)| file.as_fd()))
            .collect();
        running
            .kid
            .order(&order, &files)
            .await
            .map_err(|_| broken("its child took no order"))?;
        drop((own, inputs));

        let mut keeper = Keeper::new(job.output);
        let mut log = |bytes: &[u8]| sink.log(bytes);
        let to = &mut To::Folder(&mut keeper);
        let bounds = (job.limits, folders);
        let (told, Burned { fuel, ran }) =
            listen(&self.inner.pool, &mut running, bounds, share, &mut log, to).await;
        drop(running);
        let told = match told {
            Ok(told) => told,
            Err(silence) => {
                return Err(Ended {
                    fuel,
                    ran,
                    ..silence.ended(&job.limits)
                });
            }
        };
        let mut ended = Ended::new(told.status, told.reason);
        (ended.fuel, ended.ran) = (told.fuel, ran);
        if matches!(told.status, Status::Ok | Status::Exit(_)) {
            let files = keeper.whole().await.map_err(|error| Ended {
                fuel,
                ran,
                ..broken(&format!("the output folder: {error}"))
            })?;
            ended.files = sorted(files);
        }
        Ok(ended)
    }

    /// Lets a child try what a guest that broke out of the engine would try, then one with the grant of the network.
    ///
    /// # Errors
    /// No child starts, or it does not report.
    pub async fn self_test(&self) -> Result<Vec<Attempt>, Error> {
        let mut attempts = self.attempts(false).await?;
        for mut attempt in self.attempts(true).await? {
            attempt.name.push_str(", with the network's grant");
            attempts.push(attempt);
        }
        Ok(attempts)
    }

    async fn attempts(&self, network: bool) -> Result<Vec<Attempt>, Error> {
        let mut running = self.inner.pool.take(network).await?;
        running
            .kid
            .order(&Order::SelfTest, &[])
            .await
            .map_err(Error::Spawn)?;
        let mut frames = Frames::default();
        let mut attempts = Vec::new();
        let until = Instant::now() + SELF_TEST;
        let mut bytes = vec![0; 4096];
        loop {
            let read = tokio::time::timeout_at(until, running.kid.hear(&mut bytes)).await;
            let n = read.map_err(|_| Error::NotReady)?.map_err(Error::Spawn)?;
            if n == 0 {
                return Err(Error::NotReady);
            }
            frames.push(&bytes[..n]);
            while let Some(frame) = frames.next_frame().map_err(|_| Error::NotReady)? {
                match frame {
                    Frame::Attempt { name, held } => attempts.push(Attempt { name, held }),
                    Frame::End {
                        status: Status::Ok, ..
                    } => return Ok(attempts),
                    _ => return Err(Error::NotReady),
                }
            }
        }
    }
}

/// A fault of this machine.
fn broken(what: &str) -> Ended {
    Ended::new(Status::Internal, what)
}

/// A program that took too much to compile. Another machine may get on, so this is no result, and the task brought it on, so it is no
/// fault of this machine.
fn uncompiled() -> Ended {
    Ended::new(
        Status::Input,
        "its compilation takes more time or memory than there is for one here",
    )
}

/// The smallest program: a machine that cannot compile it can compile none.
const NOTHING: &[u8] = b"\0asm\x01\0\0\0";

/// Why a compiler gave no code.
enum Without {
    /// It said so, or could not be asked.
    Ended(Ended),
    Silence(Silence),
}

/// Opens inputs: path, file, length.
fn open(inputs: Vec<(String, std::path::PathBuf)>) -> Result<Vec<(String, OwnedFd, u64)>, Ended> {
    let one = |path: &str, file: &std::path::Path| -> std::io::Result<(OwnedFd, u64)> {
        let file = cache::open(file)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(std::io::Error::other(format!("{path} is no file")));
        }
        if meta.len() > INPUT_MAX {
            let why = format!("it has more than {INPUT_MAX} bytes");
            return Err(std::io::Error::other(why));
        }
        Ok((file.into(), meta.len()))
    };
    let open = |(path, file): (String, std::path::PathBuf)| match one(&path, &file) {
        Ok((file, size)) => Ok((path, file, size)),
        Err(error) => Err(Ended::new(
            Status::Input,
            format!("input {path:?} cannot be read: {error}"),
        )),
    };
    inputs.into_iter().map(open).collect()
}

impl Inner {
    /// Code of a program: from memory, from the disk, or compiled now.
    async fn code(self: &Arc<Self>, program: &Program) -> Result<Arc<Code>, Ended> {
        let digest = program.digest;
        if let Some(code) = self.cache.hot(digest) {
            return Ok(code);
        }
        let turn = self.cache.turn(digest);
        let _turn = turn.lock().await;
        if let Some(code) = self.cache.hot(digest) {
            return Ok(code);
        }
        let code = match self.blocking(move |inner| inner.cache.load(digest)).await? {
            Ok(Some(code)) => Arc::new(code),
            loaded => {
                if let Err(error) = loaded {
                    tracing::warn!(%error, "compiled code cannot be read; the program is compiled anew");
                }
                if self.refused.knows(digest, Instant::now()) {
                    return Err(uncompiled());
                }
                self.compile(program.clone()).await?
            }
        };
        self.cache.heat(digest, &code);
        Ok(code)
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let inner = self.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|_| broken("a thread ended"))
    }

    /// Whether a compilation ended since it took too much, as opposed to a fault. A compiler that has not the memory ends without a
    /// word, as one does that this machine ends: where compilers of several programs do, the smallest program tells which it is.
    async fn took_too_much(&self, digest: [u8; 32], silence: &Silence) -> bool {
        match silence {
            Silence::Time => true,
            Silence::Gone => self.refused.gone(digest) || self.can_compile().await,
            _ => false,
        }
    }

    /// Whether this machine can compile at all.
    async fn can_compile(&self) -> bool {
        let nothing = || {
            let mut memory = Memory::new()?;
            memory.write(NOTHING)?;
            memory.seal()
        };
        let Ok(source) = nothing() else {
            return false;
        };
        let can = self.compiled(&source).await.is_ok();
        if can {
            self.refused.compiled();
        }
        can
    }

    /// The code of a program, from a compiler of its own.
    async fn compiled(&self, source: &Sealed) -> Result<Memory, Without> {
        let broken = |why: &str| Without::Ended(broken(why));
        let running = self.pool.take(false).await;
        let mut running = running.map_err(|error| broken(&error.to_string()))?;
        let sent = running
            .kid
            .order(&Order::Compile, &[source.file.as_fd()])
            .await;
        sent.map_err(|_| broken("its child took no order"))?;
        let memory = Memory::new();
        let mut memory =
            memory.map_err(|error| broken(&format!("memory for its code: {error}")))?;
        let to = &mut To::Memory(&mut memory);
        let log = &mut |_: &[u8]| {};
        let (told, _) = listen(&self.pool, &mut running, (COMPILE, 0), 100, log, to).await;
        drop(running);
        match told {
            Ok(Told {
                status: Status::Ok, ..
            }) => Ok(memory),
            Ok(Told {
                status: Status::Module,
                reason,
                ..
            }) => Err(Without::Ended(Ended::new(Status::Module, reason))),
            Ok(Told {
                status: Status::Internal,
                reason,
                ..
            }) => Err(broken(&reason)),
            Ok(_) => Err(broken("its compiler said what it may not")),
            Err(silence) => Err(Without::Silence(silence)),
        }
    }

    async fn compile(self: &Arc<Self>, program: Program) -> Result<Arc<Code>, Ended> {
        let _one = self
            .compiling
            .acquire()
            .await
            .map_err(|_| broken("the sandbox is closed"))?;
        let digest = program.digest;
        let (source, component): (Sealed, bool) = self
            .blocking(move |_| cache::program(&program))
            .await?
            .map_err(|unread| Ended::new(Status::Input, unread.to_string()))?;
        debug_assert!(source.size <= MODULE_MAX);
        let memory = match self.compiled(&source).await {
            Ok(memory) => memory,
            Err(Without::Ended(ended)) => {
                if ended.status == Status::Module {
                    self.refused.compiled();
                }
                return Err(ended);
            }
            Err(Without::Silence(silence)) => {
                if self.took_too_much(digest, &silence).await {
                    self.refused.add(digest, Instant::now());
                    return Err(uncompiled());
                }
                return Err(silence.ended(&COMPILE));
            }
        };
        self.refused.compiled();
        let sealed = memory
            .seal()
            .map_err(|error| broken(&format!("memory for its code: {error}")))?;
        let code = Arc::new(Code { sealed, component });
        let kept = code.clone();
        if let Err(error) = self
            .blocking(move |inner| inner.cache.store(digest, &kept))
            .await?
        {
            // It runs from memory. A full disk is no fault of the program.
            tracing::warn!(%error, "compiled code is not kept on disk");
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilation_that_this_machine_ended_says_nothing_about_the_program() {
        let full = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let memory = Silence::Memory(full);
        assert_eq!(memory.ended(&COMPILE).status, Status::Internal);
        // Neither a result nor a fault of the node.
        assert_eq!(uncompiled().status, Status::Input);
    }
}
