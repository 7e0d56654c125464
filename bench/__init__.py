"""Side-by-side benchmarks against Cyrus's own tools; `make bench` runs them and prints tables."""
