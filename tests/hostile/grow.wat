;; Takes memory, page by page, and writes to each, until there is no more; then gives up.
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (local $page i32)
  (loop $more
    (local.set $page (memory.grow (i32.const 1)))
    (if (i32.ne (local.get $page) (i32.const -1))
      (then
        (i32.store (i32.shl (local.get $page) (i32.const 16)) (i32.const 1))
        (br $more))))
  (unreachable))
