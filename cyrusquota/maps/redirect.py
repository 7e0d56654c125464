"""Write the values of Exim's maps: data for a redirect router (src/rda.c)."""

from __future__ import annotations

from cyrusquota.maps import message

_FREE = b"free="


def deferral(text: str) -> bytes:
    """Return data by which Exim answers 451 (or the 4xx code in `text`) and the text.

    Raises `OptionError` where Exim would change the text.
    """
    message.temporary(text)
    return b":defer: " + text.encode("ascii")


def refusal(text: str) -> bytes:
    """Return data by which Exim answers 552 (or the 5xx code in `text`) and the text.

    Raises `OptionError` where Exim would change the text.
    """
    full = message.permanent(text)
    return b":fail: " + f"{full.code} {full.status} {full.text}".encode("ascii")


def space_left(size: int) -> bytes:
    """Return `free=SIZE`. It is no redirect data: only a router with `free=` in it looks at it."""
    return b"%s%d" % (_FREE, size)


def refuses(value: bytes) -> bool:
    """Return whether mail is refused by this value; one that says how much is left does not."""
    return not value.startswith(_FREE)
