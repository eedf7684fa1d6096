;; Answers, and gives up while it cleans up after its answer.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 256))
(func (export "cabi_post_yurt:plugin/usb-policy@0.1.0#group") (param i32) unreachable)
