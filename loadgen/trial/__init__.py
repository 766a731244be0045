"""Measures and judges: one trial, by one of its methods, gives one record and its verdict."""
