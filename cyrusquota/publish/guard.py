"""Hold back an implausible change of the map until an administrator accepts it.

A quota database can be damaged, wiped or half copied and still be read without an error. A map
with too many new entries defers mail of users who have room; one with too few brings the bounces
back.

Everything here is a pure function of the old map, the new one and the limits.
"""

from __future__ import annotations

import re
from typing import AbstractSet, Callable, Iterable, Optional

import attrs

from cyrusquota.errors import OptionError, count_of, printable
from cyrusquota.maps import Format
from cyrusquota.maps.header import MapHeader

OFF = "off"


@attrs.frozen
class MapSummary:
    """Keys, number of roots, and source of a map."""

    keys: AbstractSet[bytes]
    roots: Optional[int] = None
    source: Optional[str] = None

    @classmethod
    def of(cls, written: Format, content: bytes) -> MapSummary:
        """Return the summary of a map in the format `written`, or of any other file."""
        header = MapHeader.of(written.comments(content)) or MapHeader()
        return cls(written.keys(content), header.roots, header.source)


@attrs.frozen
class Change:
    """Numbers of entries that a new map adds, removes and keeps."""

    added: int
    removed: int
    kept: int

    @classmethod
    def between(cls, old: AbstractSet[bytes], new: AbstractSet[bytes]) -> Change:
        """Return the change from a map with the keys `old` to one with the keys `new`."""
        kept = len(old & new)
        return cls(len(new) - kept, len(old) - kept, kept)

    @property
    def count(self) -> int:
        """The number of all changes."""
        return self.added + self.removed


@attrs.frozen
class Limit:
    """The largest plausible change: `percent` of the entries, or `count` where that is more."""

    percent: float
    count: int

    def allows(self, changed: int, of: int) -> bool:
        """Return whether `changed` entries are few enough in a map that has `of` entries."""
        return changed <= self.count or changed * 100 <= self.percent * of

    def __str__(self) -> str:
        return f"{self.percent:g}%,{self.count}"


@attrs.frozen
class Limits:
    """How much a map may change in one run, in each direction; None is no limit.

    Wrongly added entries defer mail of users who have room, and holding back right ones costs only
    some bounces: the limit for added entries is low. Wrongly removed entries cost some bounces, and
    holding back right ones goes on deferring mail of users who have room again, often many at once:
    the limit for removed entries is high.
    """

    added: Optional[Limit] = Limit(20, 20)
    removed: Optional[Limit] = Limit(50, 50)
    #: A source without any root is implausible where the map in place came from this many.
    many_roots: int = 10

    @classmethod
    def of(cls, texts: Iterable[str]) -> Limits:
        """Parse values of `--max-change`; later ones replace earlier ones and the defaults.

        Each is `[added=|removed=]PERCENT%,COUNT`, or with `off` instead of the limit; without a
        direction it is for both. Raises `OptionError` for anything else.
        """
        chosen = cls()
        for text in texts:
            directions, limit = _parsed(text)
            if "added" in directions:
                chosen = attrs.evolve(chosen, added=limit)
            if "removed" in directions:
                chosen = attrs.evolve(chosen, removed=limit)
        return chosen

    def exceeded(self, change: Change, of: int, accept: Optional[int] = None) -> Optional[str]:
        """Return the options that do not allow a change of a map with `of` entries, or None.

        With `accept`, that many changes pass, and no more, whatever the limits are.
        """
        if accept is not None:
            return f"--accept-change {accept}" if change.count > accept else None
        broken = [
            f"--max-change {direction}={limit}"
            for direction, changed, limit in (
                ("added", change.added, self.added),
                ("removed", change.removed, self.removed),
            )
            if limit is not None and not limit.allows(changed, of)
        ]
        return " and ".join(broken) or None


@attrs.frozen
class Rejection:
    """Why a new map is held back, what to do, and the number of changes to accept, if any."""

    reason: str
    advice: str
    ceiling: Optional[int] = None


@attrs.frozen
class Guard:
    """A guard for `Claim.put` that compares two maps.

    `summarize` reads a map. `accept` replaces the limits for one run: up to so many changes pass.
    """

    summarize: Callable[[bytes], MapSummary]
    limits: Limits = Limits()
    accept: Optional[int] = None

    def __call__(self, old: bytes, new: bytes) -> Optional[Rejection]:
        """Return why `new` may not replace `old`, or None if it may."""
        return check_change(self.summarize(old), self.summarize(new), self.limits, self.accept)


def check_change(
    old: MapSummary, new: MapSummary, limits: Limits, accept: Optional[int] = None
) -> Optional[Rejection]:
    """Return why the map `new` may not replace the map `old`, or None if it may."""
    before = len(old.keys) if old.roots is None else old.roots
    if new.roots == 0 and before >= limits.many_roots:
        return Rejection(
            f"{_name(new)} has no quota roots, and the map in place came from {before}"
            f"{_elsewhere(old, new)}; the map in place stays and is not renewed",
            "check the quota database, or remove the map if there are no quotas any more",
        )
    change = Change.between(old.keys, new.keys)
    exceeded = limits.exceeded(change, len(old.keys), accept)
    if exceeded is None:
        return None
    ceiling = rounded_up(change.count)
    return Rejection(
        f"{count_of(change.added, 'entry')} would be added to the {len(old.keys)} in place and"
        f" {change.removed} removed, more than {exceeded} allows{_elsewhere(old, new)};"
        " the map in place stays and is not renewed",
        f"check the quota database, or accept up to {ceiling} changes once",
        ceiling,
    )


def _parsed(text: str) -> tuple[tuple[str, ...], Optional[Limit]]:
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise OptionError(
            "--max-change: expected a limit such as 20%,50 or added=20%,50 or"
            f" removed={OFF}, found {printable(text)!r}"
        )
    is_off = match["percent"] is None
    limit = None if is_off else Limit(float(match["percent"]), int(match["count"]))
    return (match["direction"],) if match["direction"] else ("added", "removed"), limit


_LIMIT = re.compile(
    r"(?:(?P<direction>added|removed)=)?"
    rf"(?:{OFF}|(?P<percent>[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?)%,(?P<count>[0-9]{{1,9}}))",
    re.ASCII,
)


def rounded_up(count: int) -> int:
    """Round up to two digits, so that the change may grow a little before it is accepted."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _name(summary: MapSummary) -> str:
    return summary.source or "the source"


def _elsewhere(old: MapSummary, new: MapSummary) -> str:
    same = old.source is None or new.source is None or old.source == new.source
    return "" if same else f" (the map in place was made from {old.source})"
