;; A component that uses sockets. The text of its program takes the place of BODY; each of its calls prints one line: a letter and
;; a number. The number is 0 after success, and else 100, 200 or 300 for the step that failed, plus the place of the error in
;; `wasi:sockets/network.error-code`.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-t))

  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable-t))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error-t (type $e))
    (export "error" (type $err (eq $e)))
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (type $s (variant (case "last-operation-failed" (own $err)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $s)))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $in)) (param "len" u64) (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.check-write" (func
      (param "self" (borrow $out)) (result (result u64 (error $stream-error)))))
    (export "[method]output-stream.write" (func
      (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $in-t))
  (alias export $streams "output-stream" (type $out-t))

  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $out-t (type $o))
    (export "output-stream" (type $out (eq $o)))
    (export "get-stdout" (func (result (own $out))))))

  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $c (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $c)))
    (type $f (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $f)))
    (type $a4 (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $ipv4 (eq $a4)))
    (type $a6 (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $ipv6 (eq $a6)))
    (type $a (variant (case "ipv4" $ipv4) (case "ipv6" $ipv6)))
    (export "ip-address" (type (eq $a)))
    (type $s4 (record (field "port" u16) (field "address" $ipv4)))
    (export "ipv4-socket-address" (type $socket4 (eq $s4)))
    (type $s6 (record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $socket6 (eq $s6)))
    (type $s (variant (case "ipv4" $socket4) (case "ipv6" $socket6)))
    (export "ip-socket-address" (type (eq $s)))))
  (alias export $network "network" (type $network-t))
  (alias export $network "error-code" (type $code-t))
  (alias export $network "ip-address-family" (type $family-t))
  (alias export $network "ip-address" (type $address-t))
  (alias export $network "ip-socket-address" (type $socket-address-t))

  (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
    (alias outer 1 $network-t (type $n))
    (export "network" (type $network (eq $n)))
    (export "instance-network" (func (result (own $network))))))

  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (alias outer 1 $network-t (type $n))
    (export "network" (type $network (eq $n)))
    (alias outer 1 $code-t (type $c))
    (export "error-code" (type $code (eq $c)))
    (alias outer 1 $address-t (type $a))
    (export "ip-address" (type $address (eq $a)))
    (export "resolve-address-stream" (type $stream (sub resource)))
    (export "[method]resolve-address-stream.resolve-next-address" (func
      (param "self" (borrow $stream)) (result (result (option $address) (error $code)))))
    (export "resolve-addresses" (func
      (param "network" (borrow $network)) (param "name" string) (result (result (own $stream) (error $code)))))))

  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (alias outer 1 $in-t (type $i))
    (export "input-stream" (type $in (eq $i)))
    (alias outer 1 $out-t (type $o))
    (export "output-stream" (type $out (eq $o)))
    (alias outer 1 $pollable-t (type $p))
    (export "pollable" (type $pollable (eq $p)))
    (alias outer 1 $network-t (type $n))
    (export "network" (type $network (eq $n)))
    (alias outer 1 $code-t (type $c))
    (export "error-code" (type $code (eq $c)))
    (alias outer 1 $socket-address-t (type $s))
    (export "ip-socket-address" (type $address (eq $s)))
    (export "tcp-socket" (type $socket (sub resource)))
    (export "[method]tcp-socket.start-bind" (func (param "self" (borrow $socket))
      (param "network" (borrow $network)) (param "local-address" $address) (result (result (error $code)))))
    (export "[method]tcp-socket.finish-bind" (func (param "self" (borrow $socket)) (result (result (error $code)))))
    (export "[method]tcp-socket.start-connect" (func (param "self" (borrow $socket))
      (param "network" (borrow $network)) (param "remote-address" $address) (result (result (error $code)))))
    (export "[method]tcp-socket.finish-connect" (func (param "self" (borrow $socket))
      (result (result (tuple (own $in) (own $out)) (error $code)))))
    (export "[method]tcp-socket.start-listen" (func (param "self" (borrow $socket)) (result (result (error $code)))))
    (export "[method]tcp-socket.subscribe" (func (param "self" (borrow $socket)) (result (own $pollable))))
    (export "[method]tcp-socket.receive-buffer-size" (func (param "self" (borrow $socket))
      (result (result u64 (error $code)))))
    (export "[method]tcp-socket.set-receive-buffer-size" (func (param "self" (borrow $socket)) (param "value" u64)
      (result (result (error $code)))))
    (export "[method]tcp-socket.send-buffer-size" (func (param "self" (borrow $socket))
      (result (result u64 (error $code)))))
    (export "[method]tcp-socket.set-send-buffer-size" (func (param "self" (borrow $socket)) (param "value" u64)
      (result (result (error $code)))))))
  (alias export $tcp "tcp-socket" (type $tcp-t))

  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $tcp-create
    (alias outer 1 $code-t (type $c))
    (export "error-code" (type $code (eq $c)))
    (alias outer 1 $family-t (type $f))
    (export "ip-address-family" (type $family (eq $f)))
    (alias outer 1 $tcp-t (type $t))
    (export "tcp-socket" (type $socket (eq $t)))
    (export "create-tcp-socket" (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))

  (import "wasi:sockets/udp@0.2.0" (instance $udp
    (export "udp-socket" (type (sub resource)))))
  (alias export $udp "udp-socket" (type $udp-t))

  (import "wasi:sockets/udp-create-socket@0.2.0" (instance $udp-create
    (alias outer 1 $code-t (type $c))
    (export "error-code" (type $code (eq $c)))
    (alias outer 1 $family-t (type $f))
    (export "ip-address-family" (type $family (eq $f)))
    (alias outer 1 $udp-t (type $t))
    (export "udp-socket" (type $socket (eq $t)))
    (export "create-udp-socket" (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))

  (core module $memory-m
    (memory (export "memory") 4)
    (global $at (mut i32) (i32.const 65536))
    ;; What one call returns is read before the next one: the upper pages are used over and over.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $place i32)
      (if (i32.gt_u (local.get 3) (i32.const 131072)) (then unreachable))
      (if (i32.gt_u (i32.add (global.get $at) (local.get 3)) (i32.const 262144))
        (then (global.set $at (i32.const 65536))))
      (local.set $place (global.get $at))
      (global.set $at (i32.and (i32.add (i32.add (global.get $at) (local.get 3)) (i32.const 7)) (i32.const -8)))
      (local.get $place)))
  (core instance $memory (instantiate $memory-m))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))

  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $drop-pollable (canon resource.drop $pollable-t))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $mem) (realloc $realloc)))
  (core func $check (canon lower (func $streams "[method]output-stream.check-write") (memory $mem)))
  (core func $write-now (canon lower (func $streams "[method]output-stream.write") (memory $mem)))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $mem)))
  (core func $stdout (canon lower (func $stdout "get-stdout")))
  (core func $instance-network (canon lower (func $instance-network "instance-network")))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $mem)))
  (core func $next (canon lower (func $lookup "[method]resolve-address-stream.resolve-next-address") (memory $mem)))
  (core func $create (canon lower (func $tcp-create "create-tcp-socket") (memory $mem)))
  (core func $create-udp (canon lower (func $udp-create "create-udp-socket") (memory $mem)))
  (core func $start-bind (canon lower (func $tcp "[method]tcp-socket.start-bind") (memory $mem)))
  (core func $finish-bind (canon lower (func $tcp "[method]tcp-socket.finish-bind") (memory $mem)))
  (core func $start-connect (canon lower (func $tcp "[method]tcp-socket.start-connect") (memory $mem)))
  (core func $finish-connect (canon lower (func $tcp "[method]tcp-socket.finish-connect") (memory $mem)))
  (core func $start-listen (canon lower (func $tcp "[method]tcp-socket.start-listen") (memory $mem)))
  (core func $subscribe (canon lower (func $tcp "[method]tcp-socket.subscribe")))
  (core func $get-receive (canon lower (func $tcp "[method]tcp-socket.receive-buffer-size") (memory $mem)))
  (core func $set-receive (canon lower (func $tcp "[method]tcp-socket.set-receive-buffer-size") (memory $mem)))
  (core func $get-send (canon lower (func $tcp "[method]tcp-socket.send-buffer-size") (memory $mem)))
  (core func $set-send (canon lower (func $tcp "[method]tcp-socket.set-send-buffer-size") (memory $mem)))

  (core module $main-m
    (import "memory" "memory" (memory 4))
    (import "wasi" "block" (func $block (param i32)))
    (import "wasi" "drop-pollable" (func $drop-pollable (param i32)))
    (import "wasi" "read" (func $read (param i32 i64 i32)))
    (import "wasi" "check" (func $check (param i32 i32)))
    (import "wasi" "write-now" (func $write-now (param i32 i32 i32 i32)))
    (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
    (import "wasi" "stdout" (func $stdout (result i32)))
    (import "wasi" "instance-network" (func $instance-network (result i32)))
    (import "wasi" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (import "wasi" "next" (func $next (param i32 i32)))
    (import "wasi" "create" (func $create (param i32 i32)))
    (import "wasi" "create-udp" (func $create-udp (param i32 i32)))
    (import "wasi" "start-bind" (func $start-bind
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "wasi" "finish-bind" (func $finish-bind (param i32 i32)))
    (import "wasi" "start-connect" (func $start-connect
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "wasi" "finish-connect" (func $finish-connect (param i32 i32)))
    (import "wasi" "start-listen" (func $start-listen (param i32 i32)))
    (import "wasi" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "wasi" "get-receive" (func $get-receive (param i32 i32)))
    (import "wasi" "set-receive" (func $set-receive (param i32 i64 i32)))
    (import "wasi" "get-send" (func $get-send (param i32 i32)))
    (import "wasi" "set-send" (func $set-send (param i32 i64 i32)))
    ;; Answers of calls are at 64. Texts of the program begin at 1024.
    DATA
    (global $out (mut i32) (i32.const 0))
    (global $network (mut i32) (i32.const 0))
    (global $socket (mut i32) (i32.const 0))
    (global $from (mut i32) (i32.const 0))
    (global $to (mut i32) (i32.const 0))

    (func $print (param $at i32) (param $len i32)
      (call $write (global.get $out) (local.get $at) (local.get $len) (i32.const 64)))

    (func $say (param $letter i32) (param $n i32)
      (local $at i32)
      (i32.store8 (i32.const 299) (i32.const 10))
      (local.set $at (i32.const 299))
      (loop $digits
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
        (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
        (br_if $digits (local.get $n)))
      (i32.store8 (i32.sub (local.get $at) (i32.const 1)) (i32.const 32))
      (local.set $at (i32.sub (local.get $at) (i32.const 2)))
      (i32.store8 (local.get $at) (local.get $letter))
      (call $print (local.get $at) (i32.sub (i32.const 300) (local.get $at))))

    ;; The answer at 64 of a call without a value: 0, or a step and its error.
    (func $failed (param $step i32) (result i32)
      (if (result i32) (i32.load8_u (i32.const 64))
        (then (i32.add (i32.mul (local.get $step) (i32.const 100)) (i32.load8_u (i32.const 65))))
        (else (i32.const 0))))

    (func $open (param $family i32) (result i32)
      (call $create (local.get $family) (i32.const 64))
      (if (i32.load8_u (i32.const 64))
        (then (return (i32.add (i32.const 100) (i32.load8_u (i32.const 68))))))
      (global.set $socket (i32.load (i32.const 68)))
      (i32.const 0))

    (func $connected (result i32)
      (local $ready i32)
      (local.set $ready (call $failed (i32.const 2)))
      (if (local.get $ready) (then (return (local.get $ready))))
      (local.set $ready (call $subscribe (global.get $socket)))
      (call $block (local.get $ready))
      (call $drop-pollable (local.get $ready))
      (call $finish-connect (global.get $socket) (i32.const 64))
      (if (i32.load8_u (i32.const 64))
        (then (return (i32.add (i32.const 300) (i32.load8_u (i32.const 68))))))
      (global.set $from (i32.load (i32.const 68)))
      (global.set $to (i32.load (i32.const 72)))
      (i32.const 0))

    ;; c: connects a new socket over IPv4.
    (func $connect4 (param $port i32) (param $a i32) (param $b i32) (param $c i32) (param $d i32)
      (local $failed i32)
      (local.set $failed (call $open (i32.const 0)))
      (if (i32.eqz (local.get $failed)) (then
        (call $start-connect (global.get $socket) (global.get $network) (i32.const 0)
          (local.get $port) (local.get $a) (local.get $b) (local.get $c) (local.get $d)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
        (local.set $failed (call $connected))))
      (call $say (i32.const 99) (local.get $failed)))

    ;; c: connects a new socket over IPv6.
    (func $connect6 (param $port i32) (param $a i32) (param $b i32) (param $c i32) (param $d i32)
      (param $e i32) (param $f i32) (param $g i32) (param $h i32) (param $zone i32)
      (local $failed i32)
      (local.set $failed (call $open (i32.const 1)))
      (if (i32.eqz (local.get $failed)) (then
        (call $start-connect (global.get $socket) (global.get $network) (i32.const 1)
          (local.get $port) (i32.const 0) (local.get $a) (local.get $b) (local.get $c) (local.get $d)
          (local.get $e) (local.get $f) (local.get $g) (local.get $h) (local.get $zone) (i32.const 64))
        (local.set $failed (call $connected))))
      (call $say (i32.const 99) (local.get $failed)))

    ;; b: binds a new socket over IPv4.
    (func $bind4 (param $port i32) (param $a i32) (param $b i32) (param $c i32) (param $d i32)
      (local $failed i32)
      (local.set $failed (call $open (i32.const 0)))
      (if (i32.eqz (local.get $failed)) (then
        (call $start-bind (global.get $socket) (global.get $network) (i32.const 0)
          (local.get $port) (local.get $a) (local.get $b) (local.get $c) (local.get $d)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
        (local.set $failed (call $failed (i32.const 2)))
        (if (i32.eqz (local.get $failed)) (then
          (call $finish-bind (global.get $socket) (i32.const 64))
          (local.set $failed (call $failed (i32.const 3)))))))
      (call $say (i32.const 98) (local.get $failed)))

    ;; l: listens with the socket that was bound last.
    (func $listen
      (call $start-listen (global.get $socket) (i32.const 64))
      (call $say (i32.const 108) (call $failed (i32.const 1))))

    ;; u: makes a socket of UDP.
    (func $udp (param $family i32)
      (call $create-udp (local.get $family) (i32.const 64))
      (call $say (i32.const 117) (if (result i32) (i32.load8_u (i32.const 64))
        (then (i32.add (i32.const 100) (i32.load8_u (i32.const 68))))
        (else (i32.const 0)))))

    ;; a: an IPv4 address as one number, for each of a name. n: how the look-up ended.
    (func $look-up (param $name i32) (param $len i32)
      (local $stream i32)
      (call $resolve (global.get $network) (local.get $name) (local.get $len) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then
        (call $say (i32.const 110) (i32.add (i32.const 100) (i32.load8_u (i32.const 68))))
        (return)))
      (local.set $stream (i32.load (i32.const 68)))
      (block $end (loop $more
        (call $next (local.get $stream) (i32.const 64))
        (br_if $end (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 66)))))
        (call $say (i32.const 97) (i32.or
          (i32.or (i32.shl (i32.load8_u (i32.const 70)) (i32.const 24)) (i32.shl (i32.load8_u (i32.const 71)) (i32.const 16)))
          (i32.or (i32.shl (i32.load8_u (i32.const 72)) (i32.const 8)) (i32.load8_u (i32.const 73)))))
        (br $more)))
      (call $say (i32.const 110) (i32.load8_u (i32.const 64))))

    ;; Sends bytes over the connection that was made last.
    (func $send (param $at i32) (param $len i32)
      (call $write (global.get $to) (local.get $at) (local.get $len) (i32.const 64)))

    ;; Prints all that the peer of that connection sends.
    (func $receive
      (loop $more
        (call $read (global.get $from) (i64.const 4096) (i32.const 64))
        (if (i32.eqz (i32.load8_u (i32.const 64))) (then
          (call $print (i32.load (i32.const 68)) (i32.load (i32.const 72)))
          (br $more)))))

    ;; s: how many sockets it could have, and then why it got no more.
    (func $many
      (local $n i32) (local $failed i32)
      (loop $more
        (local.set $failed (call $open (i32.const 0)))
        (if (i32.eqz (local.get $failed)) (then
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $n) (i32.const 5000))))))
      (call $say (i32.const 115) (local.get $n))
      (call $say (i32.const 115) (local.get $failed)))

    ;; r and w: the buffers of a new socket, and after 1 GiB was asked for.
    (func $buffers
      (drop (call $open (i32.const 0)))
      (call $get-receive (global.get $socket) (i32.const 64))
      (call $say (i32.const 114) (i32.load (i32.const 72)))
      (call $get-send (global.get $socket) (i32.const 64))
      (call $say (i32.const 119) (i32.load (i32.const 72)))
      (call $set-receive (global.get $socket) (i64.const 0x40000000) (i32.const 64))
      (call $set-send (global.get $socket) (i64.const 0x40000000) (i32.const 64))
      (call $get-receive (global.get $socket) (i32.const 64))
      (call $say (i32.const 114) (i32.load (i32.const 72)))
      (call $get-send (global.get $socket) (i32.const 64))
      (call $say (i32.const 119) (i32.load (i32.const 72))))

    ;; k: KiB that a peer which reads nothing is sent, until no more are taken.
    (func $flood
      (local $sent i32) (local $n i32)
      (block $end (loop $more
        (call $check (global.get $to) (i32.const 64))
        (br_if $end (i32.load8_u (i32.const 64)))
        (local.set $n (i32.load (i32.const 72)))
        (br_if $end (i32.eqz (local.get $n)))
        (if (i32.gt_u (local.get $n) (i32.const 32768)) (then (local.set $n (i32.const 32768))))
        (call $write-now (global.get $to) (i32.const 65536) (local.get $n) (i32.const 64))
        (br_if $end (i32.load8_u (i32.const 64)))
        (local.set $sent (i32.add (local.get $sent) (local.get $n)))
        (br $more)))
      (call $say (i32.const 107) (i32.div_u (local.get $sent) (i32.const 1024))))

    (func (export "run") (result i32)
      (global.set $out (call $stdout))
      (global.set $network (call $instance-network))
      BODY
      (i32.const 0)))

  (core instance $main (instantiate $main-m
    (with "memory" (instance $memory))
    (with "wasi" (instance
      (export "block" (func $block))
      (export "drop-pollable" (func $drop-pollable))
      (export "read" (func $read))
      (export "check" (func $check))
      (export "write-now" (func $write-now))
      (export "write" (func $write))
      (export "stdout" (func $stdout))
      (export "instance-network" (func $instance-network))
      (export "resolve" (func $resolve))
      (export "next" (func $next))
      (export "create" (func $create))
      (export "create-udp" (func $create-udp))
      (export "start-bind" (func $start-bind))
      (export "finish-bind" (func $finish-bind))
      (export "start-connect" (func $start-connect))
      (export "finish-connect" (func $finish-connect))
      (export "start-listen" (func $start-listen))
      (export "subscribe" (func $subscribe))
      (export "get-receive" (func $get-receive))
      (export "set-receive" (func $set-receive))
      (export "get-send" (func $get-send))
      (export "set-send" (func $set-send))))))

  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $made (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $made)))
