;; Ten thousand log lines.
(data (i32.const 512) "I have much to say")
(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
  (local $n i32)
  (loop $more
    (call $log (i32.const 3) (i32.const 512) (i32.const 18))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $n) (i32.const 10000))))
  (i32.const 256))
