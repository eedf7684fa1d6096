;; An error with an escape sequence and line breaks.
(data (i32.const 512) "\1b[31mred\0aand more")
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 256) (i32.const 1))
  (i32.store (i32.const 260) (i32.const 512))
  (i32.store (i32.const 264) (i32.const 17))
  (i32.const 256))
