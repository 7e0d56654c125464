"""The one-letter directories that Cyrus spreads files over (dir_hash_c in lib/util.c)."""

from __future__ import annotations

_LETTERS = 23


def letter(name: bytes, *, full: bool) -> str:
    """The directory for `name`: its first letter or q, or with fulldirhash one of A to W."""
    if not full:
        first = name[:1].lower()
        return first.decode("ascii") if b"a" <= first <= b"z" else "q"
    mixed = 0
    for byte in name.partition(b".")[0]:
        mixed = (((mixed << 3) ^ (mixed >> 5)) ^ byte) & 0xFFFFFFFF
    return chr(ord("A") + mixed % _LETTERS)
