;; Its list reaches beyond its memory.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 260) (i32.const 65536))
  (i32.store (i32.const 264) (i32.const 0x7fffffff))
  (i32.const 256))
