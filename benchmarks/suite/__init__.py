"""The suite of tasks and methods that `benchmarks/compare.py` runs."""
