;; Plans forever.
(func $plan (param i32) (result i32) (loop $more (br $more)) (i32.const 256))
