;; Looks at the clock until it moves.
(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (local $start i64)
  (local.set $start (call $now))
  (loop $again (br_if $again (i64.eq (call $now) (local.get $start))))
  (i32.const 256))
