;; A component that uses files, a clock and randomness. DATA are its texts, which begin at 1024; BODY is an expression that tells a
;; number: 0 after success, and else 100 plus the place of the error in `wasi:filesystem/types.error-code`. It ends well where that
;; is EXPECTED.
(component
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type $d (sub resource)))
    (type $p (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $p)))
    (type $o (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $o)))
    (type $f (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $flags (eq $f)))
    (type $c (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist" "file-too-large"
      "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop" "too-many-links" "message-size"
      "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory" "insufficient-space" "not-directory" "not-empty"
      "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow" "not-permitted" "pipe" "read-only" "invalid-seek"
      "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $c)))
    (export "[method]descriptor.open-at" (func (param "self" (borrow $d)) (param "path-flags" $path-flags)
      (param "path" string) (param "open-flags" $open-flags) (param "flags" $flags) (result (result (own $d) (error $code)))))
    (export "[method]descriptor.symlink-at" (func (param "self" (borrow $d)) (param "old-path" string)
      (param "new-path" string) (result (result (error $code)))))
    (export "[method]descriptor.create-directory-at" (func (param "self" (borrow $d)) (param "path" string)
      (result (result (error $code)))))
    (export "[method]descriptor.rename-at" (func (param "self" (borrow $d)) (param "old-path" string)
      (param "new-descriptor" (borrow $d)) (param "new-path" string) (result (result (error $code)))))))
  (alias export $types "descriptor" (type $descriptor))

  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $x))
    (export "descriptor" (type $d (eq $x)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))

  (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
    (type $t (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $datetime (eq $t)))
    (export "now" (func (result $datetime)))))

  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-u64" (func (result u64)))))

  (core module $memory-m
    (memory (export "memory") 2)
    (global $at (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $place i32)
      (if (i32.gt_u (i32.add (global.get $at) (local.get 3)) (i32.const 131072)) (then unreachable))
      (local.set $place (global.get $at))
      (global.set $at (i32.and (i32.add (i32.add (global.get $at) (local.get 3)) (i32.const 7)) (i32.const -8)))
      (local.get $place)))
  (core instance $memory (instantiate $memory-m))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))

  (core func $open-at (canon lower (func $types "[method]descriptor.open-at") (memory $mem)))
  (core func $symlink-at (canon lower (func $types "[method]descriptor.symlink-at") (memory $mem)))
  (core func $create-at (canon lower (func $types "[method]descriptor.create-directory-at") (memory $mem)))
  (core func $rename-at (canon lower (func $types "[method]descriptor.rename-at") (memory $mem)))
  (core func $directories (canon lower (func $preopens "get-directories") (memory $mem) (realloc $realloc)))
  (core func $now (canon lower (func $clock "now") (memory $mem)))
  (core func $u64 (canon lower (func $random "get-random-u64")))

  (core module $main-m
    (import "memory" "memory" (memory 2))
    (import "wasi" "open-at" (func $open-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "wasi" "symlink-at" (func $symlink-at (param i32 i32 i32 i32 i32 i32)))
    (import "wasi" "create-at" (func $create-at (param i32 i32 i32 i32)))
    (import "wasi" "rename-at" (func $rename-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "wasi" "directories" (func $directories (param i32)))
    (import "wasi" "now" (func $now (param i32)))
    (import "wasi" "u64" (func $u64 (result i64)))
    ;; Answers of calls are at 64.
    DATA
    (global $root (mut i32) (i32.const 0))

    (func $open (param $at i32) (param $len i32) (param $open i32) (param $flags i32) (result i32)
      (call $open-at (global.get $root) (i32.const 1) (local.get $at) (local.get $len) (local.get $open) (local.get $flags)
        (i32.const 64))
      (if (result i32) (i32.load8_u (i32.const 64))
        (then (i32.add (i32.const 100) (i32.load8_u (i32.const 68))))
        (else (i32.const 0))))

    (func $done (result i32)
      (if (result i32) (i32.load8_u (i32.const 64))
        (then (i32.add (i32.const 100) (i32.load8_u (i32.const 65))))
        (else (i32.const 0))))

    (func $link (param $to i32) (param $len i32) (param $from i32) (param $from-len i32) (result i32)
      (call $symlink-at (global.get $root) (local.get $to) (local.get $len) (local.get $from) (local.get $from-len)
        (i32.const 64))
      (call $done))

    (func $create (param $at i32) (param $len i32) (result i32)
      (call $create-at (global.get $root) (local.get $at) (local.get $len) (i32.const 64))
      (call $done))

    (func $rename (param $from i32) (param $len i32) (param $to i32) (param $to-len i32) (result i32)
      (call $rename-at (global.get $root) (local.get $from) (local.get $len) (global.get $root) (local.get $to)
        (local.get $to-len) (i32.const 64))
      (call $done))

    ;; Seconds of the wall clock.
    (func $seconds (result i64)
      (call $now (i32.const 64))
      (i64.load (i32.const 64)))

    (func (export "run") (result i32)
      (call $directories (i32.const 64))
      ;; There is one folder, and no other.
      (if (i32.ne (i32.load (i32.const 68)) (i32.const 1)) (then unreachable))
      (global.set $root (i32.load (i32.load (i32.const 64))))
      (i32.ne BODY (i32.const EXPECTED))))

  (core instance $main (instantiate $main-m
    (with "memory" (instance $memory))
    (with "wasi" (instance
      (export "open-at" (func $open-at))
      (export "symlink-at" (func $symlink-at))
      (export "create-at" (func $create-at))
      (export "rename-at" (func $rename-at))
      (export "directories" (func $directories))
      (export "now" (func $now))
      (export "u64" (func $u64))))))

  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $made (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $made)))
