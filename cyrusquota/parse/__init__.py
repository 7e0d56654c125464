"""The spelled-out forms of quota data: database values, `quota` output, dumps.

Each module reads one form from bytes and can be used alone; none knows where the bytes came from.
"""
