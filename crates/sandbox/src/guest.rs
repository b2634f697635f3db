//! A guest and what it is given: the engine, the files, the clock, the calls.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use wasmtime::{Engine, Linker, Module, Store, Trap, component};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

pub(crate) mod clock;
pub(crate) mod engine;
pub(crate) mod fs;
pub(crate) mod limiter;
mod meter;
mod p1;
mod p2;
pub(crate) mod stop;

use clock::{Clock, Random};
use fs::Fs;
use limiter::Limiter;
use meter::Meter;
use stop::Stop;

use crate::{Ended, Status};

/// Fuel after which a guest hands control back for a moment: some milliseconds of work.
pub(crate) const SLICE: u64 = 4_000_000;
/// Most bytes of the lists and texts that a component passes in one call.
pub(crate) const PASSED_MAX: usize = 16 << 20;
/// Name of the program among its arguments.
const NAME: &str = "task";

/// A compiled program.
pub(crate) enum Code {
    Module(Module),
    Component(component::Component),
}

/// Arguments, limits, clock, randomness and hosts that a guest is given.
pub(crate) struct Given {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) fuel: u64,
    pub(crate) memory: u64,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) hosts: Option<Vec<Host>>,
}

/// A host that the policy names, with the addresses that the parent found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<std::net::IpAddr>,
}

/// The state behind a guest's calls.
pub(crate) struct Guest {
    args: Vec<String>,
    env: Vec<(String, String)>,
    fs: Arc<Mutex<Fs>>,
    clock: Arc<Mutex<Clock>>,
    waiting: p2::Waiting,
    random: Random,
    limiter: Limiter,
    meter: Arc<Mutex<Meter>>,
    files: p1::Table,
    descriptors: p2::Table,
    wasi: WasiCtx,
    table: ResourceTable,
    hosts: Vec<Host>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl Guest {
    fn new(given: Given, fs: Arc<Mutex<Fs>>, meter: Arc<Mutex<Meter>>) -> Self {
        let mut args = vec![NAME.to_owned()];
        args.extend(given.args);
        let wasi = p2::context(&args, &given.env, given.hosts.as_deref(), &fs);
        let mut table = ResourceTable::new();
        table.set_max_capacity(p2::RESOURCES_MAX);
        Self {
            args,
            env: given.env,
            fs,
            clock: Arc::new(Mutex::new(given.clock)),
            waiting: p2::Waiting::default(),
            random: given.random,
            limiter: Limiter::new(given.memory),
            meter,
            files: p1::Table::new(),
            descriptors: p2::Table::default(),
            wasi,
            table,
            hosts: given.hosts.unwrap_or_default(),
        }
    }
}

/// A lock that a panic poisoned holds values that are still whole: each call changes one thing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a guest to its end. `hook` is called once in each slice of fuel, with what is known to be burned.
pub(crate) async fn run(
    engine: &Engine,
    code: &Code,
    given: Given,
    fs: &Arc<Mutex<Fs>>,
    hook: Box<dyn FnMut(u64) + Send>,
) -> Ended {
    let fuel = given.fuel;
    let meter = Arc::new(Mutex::new(Meter::new(
        fuel,
        matches!(code, Code::Module(_)),
        hook,
    )));
    let guest = Guest::new(given, fs.clone(), meter.clone());
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(PASSED_MAX);
    let result = match store
        .set_fuel(fuel)
        .and_then(|()| store.fuel_async_yield_interval(Some(SLICE)))
    {
        Ok(()) => {
            let mut main = pin!(start(engine, code, &mut store));
            poll_fn(|cx| match main.as_mut().poll(cx) {
                Poll::Pending => {
                    lock(&meter).yielded();
                    Poll::Pending
                }
                ready => ready,
            })
            .await
        }
        Err(error) => Err(Failed::Engine(error)),
    };
    let left = store.get_fuel().unwrap_or(0);
    let mut ended = ended(result, fuel);
    ended.fuel = fuel.saturating_sub(left);
    ended
}

/// Where a run failed.
enum Failed {
    Engine(wasmtime::Error),
    /// The program is none that can run here.
    Module(wasmtime::Error),
    Missing(&'static str),
    Run(wasmtime::Error),
    Returned,
}

async fn start(engine: &Engine, code: &Code, store: &mut Store<Guest>) -> Result<(), Failed> {
    match code {
        Code::Module(module) => {
            let mut linker = Linker::new(engine);
            p1::link(&mut linker).map_err(Failed::Engine)?;
            let ready = linker.instantiate_pre(module).map_err(Failed::Module)?;
            let instance = ready
                .instantiate_async(&mut *store)
                .await
                .map_err(Failed::Run)?;
            let Some(main) = instance.get_func(&mut *store, "_start") else {
                return Err(Failed::Missing("it exports no function `_start`"));
            };
            let main = main
                .typed::<(), ()>(&mut *store)
                .map_err(|_| Failed::Missing("its `_start` takes or returns something"))?;
            main.call_async(store, ()).await.map_err(Failed::Run)
        }
        Code::Component(component) => {
            let mut linker = component::Linker::new(engine);
            p2::link(&mut linker).map_err(Failed::Engine)?;
            let ready = linker.instantiate_pre(component).map_err(Failed::Module)?;
            let ready =
                wasmtime_wasi::p2::bindings::CommandPre::new(ready).map_err(Failed::Module)?;
            let command = ready
                .instantiate_async(&mut *store)
                .await
                .map_err(Failed::Run)?;
            match command
                .wasi_cli_run()
                .call_run(store)
                .await
                .map_err(Failed::Run)?
            {
                Ok(()) => Ok(()),
                Err(()) => Err(Failed::Returned),
            }
        }
    }
}

fn ended(result: Result<(), Failed>, fuel: u64) -> Ended {
    let error = match result {
        Ok(()) => return Ended::new(Status::Ok, "it returned"),
        Err(Failed::Returned) => return Ended::new(Status::Exit(1), "it returned an error"),
        Err(Failed::Engine(error)) => {
            return Ended::new(Status::Internal, format!("the engine: {error:#}"));
        }
        Err(Failed::Module(error)) => return Ended::new(Status::Module, format!("{error:#}")),
        Err(Failed::Missing(what)) => return Ended::new(Status::Module, what),
        Err(Failed::Run(error)) => error,
    };
    if let Some(stop) = error.downcast_ref::<Stop>() {
        let status = match stop {
            Stop::Exit(0) => Status::Ok,
            Stop::Exit(code) => Status::Exit(*code),
            Stop::Memory { .. } | Stop::Table(_) => Status::Memory,
            Stop::Bytes(_) | Stop::Files(_) | Stop::Path => Status::Output,
            Stop::NoMemory => Status::Module,
            Stop::Raised => Status::Trap,
            Stop::Machine | Stop::Parent => Status::Internal,
        };
        return Ended::new(status, stop.to_string());
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        let status = if exit.0 == 0 {
            Status::Ok
        } else {
            Status::Exit(exit.0)
        };
        return Ended::new(status, format!("it exited with {}", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            Ended::new(Status::Fuel, format!("it burned its {fuel} units of fuel"))
        }
        Some(trap) => Ended::new(Status::Trap, trap.to_string()),
        None if limiter::is_machine(&error) => {
            Ended::new(Status::Internal, format!("{}: {error:#}", Stop::Machine))
        }
        None if limiter::is_count(&error) => Ended::new(Status::Memory, format!("{error:#}")),
        None => Ended::new(Status::Trap, format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests;
