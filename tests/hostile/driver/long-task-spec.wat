;; A schema of 65537 bytes for its tasks.
(func $describe (result i32)
  (i32.store (i32.const 160) (i32.const 512))
  (i32.store (i32.const 164) (i32.const 65537))
  (i32.const 128))
