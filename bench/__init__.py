"""Benchmarks: cyrusquota beside the usual alternatives, in tables of ratios."""
