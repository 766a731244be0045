"""How a server waits, recorded: which line of its file ran, which system call it made, what its
clients did and what the kernel held, at every moment of a scene that is always the same."""
