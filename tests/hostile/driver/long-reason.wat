;; A reason of 40000 bytes.
(func $judge (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 260) (i32.const 1024))
  (i32.store (i32.const 264) (i32.const 40000))
  (i32.const 256))
