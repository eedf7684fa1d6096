;; A log line that reaches beyond its memory.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (call $log (i32.const 3) (i32.const 512) (i32.const 0x7fffffff))
  (i32.const 256))
