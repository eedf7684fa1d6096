;; Asks for a socket: gives up where it gets one.
(import "wasi:sockets/tcp-create-socket@0.2.6" "create-tcp-socket" (func $create (param i32 i32)))
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (call $create (i32.const 0) (i32.const 304))
  ;; access-denied is err(1)
  (if (i32.ne (i32.load8_u (i32.const 304)) (i32.const 1)) (then unreachable))
  (if (i32.ne (i32.load8_u (i32.const 308)) (i32.const 1)) (then unreachable))
  (i32.const 256))
