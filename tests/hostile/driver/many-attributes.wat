;; 257 attributes without a name.
(func $judge (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 268) (i32.const 1024))
  (i32.store (i32.const 272) (i32.const 257))
  (i32.const 256))
