"""What `benchmarks/gpu.py` measures, and how it keeps it."""
