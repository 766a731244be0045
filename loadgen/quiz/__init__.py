"""A quiz whose answers are measured while one waits: first a guess, then the figure."""
