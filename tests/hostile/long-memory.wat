;; Wants 64 KiB and one byte remembered.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 2)))
  (i32.store (i32.const 268) (i32.const 1))
  (i32.store (i32.const 272) (i32.const 131072))
  (i32.store (i32.const 276) (i32.const 65537))
  (i32.const 256))
