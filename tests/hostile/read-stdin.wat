;; Reads from stdin until something comes. 304: where the stream's answer goes.
(import "wasi:cli/stdin@0.2.6" "get-stdin" (func $stdin (result i32)))
(import "wasi:io/streams@0.2.6" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (call $read (call $stdin) (i64.const 1) (i32.const 304))
  ;; closed is err(1)
  (if (i32.ne (i32.load8_u (i32.const 304)) (i32.const 1)) (then unreachable))
  (if (i32.ne (i32.load8_u (i32.const 308)) (i32.const 1)) (then unreachable))
  (i32.const 256))
