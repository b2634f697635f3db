//! Runs WebAssembly programs for betanet's fog: a child process without privileges, fuel, caps, a cache of compiled modules.
