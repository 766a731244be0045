"""Drives servers, measures them, and says how far the numbers can be trusted."""
