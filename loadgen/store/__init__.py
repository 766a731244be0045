"""What a run leaves behind: the form of its records, its folder, its histograms."""
