;; Never comes back from `group`.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (loop $forever (br $forever))
  (unreachable))
