;; Leaves a thing of a type of its own behind, whose destructor would never come back: nobody may call that for it.
(import "[export]test:guest/things" "[resource-new]thing" (func $new (param i32) (result i32)))
(func (export "test:guest/things#[dtor]thing") (param i32) (loop $forever (br $forever)))
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (drop (call $new (i32.const 1)))
  (i32.const 256))
