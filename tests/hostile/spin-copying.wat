;; Copies all of its memory again and again: deadlines are looked at between instructions, and these are long ones.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 900)))
  (loop $forever
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 58720256))
    (br $forever))
  (unreachable))
