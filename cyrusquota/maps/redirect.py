"""The values of Exim's maps: data of a redirect router (src/rda.c)."""

from __future__ import annotations

from cyrusquota.maps import message


def deferral(text: str) -> bytes:
    """The redirect data by which Exim answers 451, or the 4xx code in `text`, and the rest."""
    message.temporary(text)
    return b":defer: " + text.encode("ascii")


def refusal(text: str) -> bytes:
    """The redirect data by which Exim answers 552, or the 5xx code in `text`, and the rest."""
    full = message.permanent(text)
    return b":fail: " + f"{full.code} {full.status} {full.text}".encode("ascii")


def space_left(size: int) -> bytes:
    """No redirect data: a router that knows `free=` compares it, every other one ignores it."""
    return b"free=%d" % size
