"""Fuzzing of every reader and parser: see `make fuzz`."""
