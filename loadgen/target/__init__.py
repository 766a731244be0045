"""The server under test: where it listens, its processes, what they use, and their system calls."""
