"""Compares: medians with intervals, ratios, two runs; and whether a stored run holds together."""
