;; Calls itself something that Nomad could not.
(data (i32.const 512) "Bad Name!")
(data (i32.const 544) "\00\02\00\00\09\00\00\00\20\00\00\00\05\00\00\00\30\00\00\00\0f\00\00\00\00\00\00\00\00\00\00\00")
(func $describe (result i32) (i32.const 544))
