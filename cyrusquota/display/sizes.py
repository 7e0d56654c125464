"""Format sizes, counts, percentages and durations for people.

100% means exactly the limit, because one byte decides whether mail is refused: below it, a use is
99% at most, and above it 101% at least.
"""

from __future__ import annotations

import enum

from cyrusquota.quota import Resource, Usage

_STEP = 1024
#: The largest percentage that is shown.
_MOST = 999
_MORE = f">{_MOST}%"


class Unit(enum.Enum):
    """Units of sizes; AUTO is the largest unit in which the size is 1 or more."""

    AUTO = "auto"
    BYTES = "bytes"
    KIB = "KiB"
    MIB = "MiB"
    GIB = "GiB"
    TIB = "TiB"


_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_NAMES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(number: int, unit: Unit = Unit.AUTO) -> str:
    """Return bytes in `unit`: digits only in BYTES, otherwise one decimal and the unit."""
    if unit is Unit.BYTES:
        return str(number)
    if unit is not Unit.AUTO:
        return f"{number / _STEP ** _NAMES.index(unit.value):.1f} {unit.value}"
    scaled, names = abs(number), iter(_NAMES)
    name, value = next(names), float(scaled)
    # A value that rounds up to 1024.0 is 1.0 of the next unit.
    while round(value, 1) >= _STEP and name != _NAMES[-1]:
        name, value = next(names), value / _STEP
    sign = "-" if number < 0 else ""
    return f"{number} B" if name == "B" else f"{sign}{value:.1f} {name}"


def figure(resource: Resource, number: int, unit: Unit = Unit.AUTO) -> str:
    """Return an amount of `resource`: a size or a count."""
    return size(number, unit) if resource.unit > 1 else str(number)


def percent(usage: Usage) -> str:
    """Return the percentage of the limit in use, without decimals; a dash without a limit."""
    if usage.limit is None:
        return "-"
    if usage.limit <= 0:
        return _MORE if usage.is_over() else "100%"
    whole = max(0, usage.used) * 100 // usage.limit
    if usage.used > usage.limit:
        whole = max(101, whole)
    return _MORE if whole > _MOST else f"{whole}%"


def part(number: int, whole: int) -> str:
    """Return `number` as a percentage of `whole`, with one decimal; a dash if `whole` is 0."""
    return f"{number * 100 / whole:.1f}%" if whole else "-"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as `1 hour 5 minutes` or `40 seconds`."""
    rest = abs(round(seconds))
    said: list[str] = []
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if said and (unit == "second" or not count):
            break
        if count:
            said.append(f"{count} {unit}{'' if count == 1 else 's'}")
        if len(said) == 2:
            break
    return ("-" if seconds <= -1 else "") + (" ".join(said) or "0 seconds")
