;; Colours in its sentences, and line breaks.
(data (i32.const 512) "\1b[31mred\nand more")
(data (i32.const 544) "a\nb")
;; Unhealthy, for that reason.
(func $judge (param i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 256) (i32.const 1))
  (i32.store (i32.const 260) (i32.const 512))
  (i32.store (i32.const 264) (i32.const 17))
  (i32.const 256))
;; An error: message, path, recoverable.
(func $plan (param i32) (result i32)
  (i32.store8 (i32.const 256) (i32.const 1))
  (i32.store (i32.const 260) (i32.const 512))
  (i32.store (i32.const 264) (i32.const 17))
  (i32.store8 (i32.const 268) (i32.const 1))
  (i32.store (i32.const 272) (i32.const 544))
  (i32.store (i32.const 276) (i32.const 3))
  (i32.store8 (i32.const 280) (i32.const 1))
  (i32.const 256))
