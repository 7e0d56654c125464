"""Spans of time as people say them."""

from __future__ import annotations

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def age(seconds: float) -> str:
    """A span in its two largest units, the smaller left out where it is 0; seconds only alone."""
    rest = abs(round(seconds))
    said: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if said and (unit == "second" or not count):
            break
        if count:
            said.append(f"{count} {unit}{'' if count == 1 else 's'}")
        if len(said) == 2:
            break
    return ("-" if seconds <= -1 else "") + (" ".join(said) or "0 seconds")
