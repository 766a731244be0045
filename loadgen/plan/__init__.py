"""What a run is going to do: which cells, in which order, and what of it is still due."""
