;; An error that is not UTF-8.
(data (i32.const 512) "\ff\fe\80")
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 256) (i32.const 1))
  (i32.store (i32.const 260) (i32.const 512))
  (i32.store (i32.const 264) (i32.const 3))
  (i32.const 256))
