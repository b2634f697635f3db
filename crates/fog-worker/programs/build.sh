#!/bin/sh
# Compiles words.c to words.wasm with Debian's packages clang, lld, wasi-libc and libclang-rt-dev-wasm32:
#   apt-get install clang lld wasi-libc libclang-rt-dev-wasm32 && sh build.sh
set -e
cd "$(dirname "$0")"
clang --target=wasm32-wasi --sysroot=/usr -isystem /usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi \
    -O2 -Wall -Wextra -Werror -Wl,--strip-all -o words.wasm words.c
# The same program as a component, with the adapter of wasmtime 48:
#   cargo install wasm-tools
#   wasm-tools component new words.wasm --adapt wasi_snapshot_preview1.command.wasm -o words-component.wasm
sha256sum words.wasm words-component.wasm
