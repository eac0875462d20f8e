"""Measurements, each with its baseline in the same run; `python -m benchmarks` lists them."""
