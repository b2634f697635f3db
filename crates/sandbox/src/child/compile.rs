//! Compiles a module or a component. A fault of the compiler ends this process only.

use std::os::fd::OwnedFd;

use wasmtime::Engine;

use super::{Gone, Voice, whole};
use crate::{
    Status,
    guest::{fs::STDOUT, limiter::is_machine},
};

/// How a module and a component begin.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

pub(super) fn compile(engine: &Engine, voice: &Voice, file: Option<OwnedFd>) -> Result<(), Gone> {
    let bytes = whole(&file.ok_or(Gone::Order)?)?;
    let code = if bytes.starts_with(MODULE) {
        engine.precompile_module(&bytes)
    } else if is_component(&bytes) {
        engine.precompile_component(&bytes)
    } else {
        let what = if bytes.starts_with(&MODULE[..4]) {
            "a WebAssembly of another version"
        } else {
            "no WebAssembly"
        };
        return Ok(voice.end(Status::Module, 0, &format!("the module is {what}"))?);
    };
    drop(bytes);
    match code {
        Ok(code) => {
            voice.file(STDOUT, &code)?;
            voice.end(Status::Ok, 0, "")?;
        }
        Err(error) if is_machine(&error) => {
            voice.end(Status::Internal, 0, &format!("its compilation: {error:#}"))?;
        }
        Err(error) => voice.end(Status::Module, 0, &format!("{error:#}"))?,
    }
    Ok(())
}

/// Whether bytes begin as a component does.
pub(crate) fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(COMPONENT)
}
