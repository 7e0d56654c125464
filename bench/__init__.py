"""Benchmarks, which print what to put into the documentation."""
