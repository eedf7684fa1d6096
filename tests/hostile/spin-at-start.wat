;; Never comes back from being set up.
(func $setup (loop $forever (br $forever)))
(start $setup)
