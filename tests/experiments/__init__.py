"""The experiments, a file for each of which there is more to test than holds for all."""
