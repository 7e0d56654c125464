"""Parsers of database values, of what `quota` prints, and of dumps.

Each module reads one form from bytes and can be used alone.
"""
