"""What is generated from the code and committed: man pages, completion scripts, docs/errors.md.

`python -m papers` writes them anew (`make man` does it, too); a test fails when they fall behind.
"""
