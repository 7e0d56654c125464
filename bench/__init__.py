"""Benchmarks side by side with what one would run otherwise; they print tables of ratios."""
