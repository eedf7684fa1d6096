;; Gives up while it judges.
(func $judge (param i32 i32 i32 i32) (result i32) unreachable)
