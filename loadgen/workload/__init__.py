"""What is said, how much of it, and when: plain values and pure functions, without a socket."""
