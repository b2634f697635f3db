#!/bin/sh
# Compiles words.c to words.wasm with Debian's packages clang, lld, wasi-libc and libclang-rt-dev-wasm32:
#   apt-get install clang lld wasi-libc libclang-rt-dev-wasm32 && sh build.sh
set -e
cd "$(dirname "$0")"
clang --target=wasm32-wasi --sysroot=/usr -isystem /usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi \
    -O2 -Wall -Wextra -Werror -Wl,--strip-all -o words.wasm words.c
sha256sum words.wasm
