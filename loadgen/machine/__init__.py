"""The machine that is measured on: its CPUs, its limits, its counters, and what disturbs it."""
