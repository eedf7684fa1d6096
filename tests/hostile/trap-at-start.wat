;; Gives up while it is set up.
(func $setup unreachable)
(start $setup)
