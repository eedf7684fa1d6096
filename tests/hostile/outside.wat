;; Its answer lies outside its memory.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0x7ffffff0))
