;; 65 wishes to run nothing.
(func $probes (param i32 i32) (result i32)
  (i32.store (i32.const 256) (i32.const 1024))
  (i32.store (i32.const 260) (i32.const 65))
  (i32.const 256))
