;; One group with a name of 40000 bytes.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 260) (i32.const 1024))
  (i32.store (i32.const 264) (i32.const 1))
  (i32.store (i32.const 1024) (i32.const 4096))
  (i32.store (i32.const 1028) (i32.const 40000))
  (i32.const 256))
