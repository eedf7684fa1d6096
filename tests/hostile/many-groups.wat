;; One group more than may be.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 2)))
  (i32.store (i32.const 260) (i32.const 131072))
  (i32.store (i32.const 264) (i32.const 1025))
  (i32.const 256))
