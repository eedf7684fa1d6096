;; Makes handles of a type of its own for ever.
(import "[export]test:guest/things" "[resource-new]thing" (func $new (param i32) (result i32)))
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (loop $more (drop (call $new (i32.const 1))) (br $more))
  (unreachable))
