"""The fast path over database values: which of many may be of a root near or beyond its limit.

Nearly all values are far within their limits and in the form that Cyrus writes, so few have to be
read by the grammar of `value`, which defines what is right.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import Iterable, Mapping, NamedTuple, Optional, Sequence

import attrs

from cyrusquota.parse.value import CANONICAL
from cyrusquota.quota import Resource


@attrs.frozen
class Margin:
    """How near to its limit the usage of a resource may come, on the safe side.

    `share` is what part of the limit is left out of account, in percent; `amount` how much more
    has to be left, in bytes or counts.
    """

    amount: int = 0
    share: float = 0


class Line(NamedTuple):
    """What usage must not cross, by its limit.

    That is `scale` times the limit in its own units, in parts of _PARTS, less `amount`.
    """

    scale: int
    amount: int

    def is_crossed(self, used: bytes, limit: bytes) -> bool:
        return int(used) > int(limit) * self.scale // _PARTS - self.amount

    def crossed(
        self, pairs: Iterable[tuple[Optional[bytes], Optional[bytes]]], unit: int
    ) -> list[int]:
        """The indexes of those pairs of used, in units, and limit that do; none without limit."""
        scale, amount = self
        return [
            index
            for index, (used, limit) in enumerate(pairs)
            if limit and int(used or 0) * unit > int(limit) * scale // _PARTS - amount
        ]


class _Check(NamedTuple):
    """Where used and limit stand in a value, and what is asked of them."""

    used: slice
    limit: slice
    line: Line

    def fails(self, value: bytes) -> bool:
        return self.line.is_crossed(value[self.used], value[self.limit])


_SHAPE = bytes.maketrans(b"123456789", b"000000000")
#: Values written up to 2.4. That a limit of -1 is none, its shape does not say: -0 is 0.
_OLD = re.compile(rb"([0-9]{1,18}) ([0-9]{1,15})")
_OLD_UNLIMITED = re.compile(rb"[0-9]{1,18} -1")
#: Limits are multiplied by whole parts of them, on the safe side.
_PARTS = 1 << 20
_ZERO = ord("0")
#: Shapes to remember.
_MANY = 1 << 14


@attrs.frozen
class Prefilter:
    """Tells which of many values may stand for a root that is beyond one of the `margins`.

    The shape of a value is what is left of it when all its digits are made the same. There are few
    shapes, so that the grammar above has to tell only for one value of each where the numbers
    stand; and of most values the number of digits, or the digits that come first, say already that
    the usage is well within the limit. A value in no form of Cyrus's own is always wanted.
    """

    margins: Mapping[Resource, Margin]
    _known: dict[bytes, list[_Check]] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
        """The indexes of the values that `wants` wants."""
        shapes: dict[bytes, list[int]] = {}
        for index, shape in enumerate(map(bytes.translate, values, repeat(_SHAPE))):
            try:
                shapes[shape].append(index)
            except KeyError:
                shapes[shape] = [index]
        wanted: list[int] = []
        for shape, indexes in shapes.items():
            checks = self._known.get(shape)
            if checks is None:
                checks = self._checks(shape)
                if checks is not None and len(self._known) < _MANY:
                    self._known[shape] = checks
            if checks is None:
                wanted += (at for at in indexes if not _OLD_UNLIMITED.fullmatch(values[at]))
            elif len(checks) == 1:
                wanted += _failing(checks[0], indexes, values)
            elif checks:
                wanted += (at for at in indexes if any(c.fails(values[at]) for c in checks))
        return sorted(wanted)

    def wants(self, value: bytes) -> bool:
        """The same of one value."""
        checks = self._checks(value)
        if checks is None:
            return not _OLD_UNLIMITED.fullmatch(value)
        return any(check.fails(value) for check in checks)

    def _checks(self, value: bytes) -> Optional[list[_Check]]:
        """What is to be compared in `value` and all others of its shape; None: it is no shape."""
        match = CANONICAL.fullmatch(value) or _OLD.fullmatch(value)
        if match is None:
            return None
        checks = []
        for resource, group in zip(Resource, range(2, match.re.groups + 1, 2)):
            line = self.line(resource)
            if line is not None and match[group] is not None:
                used, limit = slice(*match.span(group - 1)), slice(*match.span(group))
                checks.append(_Check(used, limit, line))
        return checks

    def line(self, resource: Resource) -> Optional[Line]:
        """What usage of `resource` must not cross; None if any usage will do."""
        margin = self.margins.get(resource)
        if margin is None:
            return None
        kept = _PARTS if not margin.share else int(_PARTS * (1 - margin.share / 100)) - 1
        return Line(resource.unit * kept, margin.amount)


def _failing(check: _Check, indexes: list[int], values: Sequence[bytes]) -> Iterable[int]:
    """Those of the values of one shape that fail `check`; few of them have to be calculated."""
    used, limit, (scale, amount) = check
    more = (used.stop - used.start) - (limit.stop - limit.start)
    least = 10 ** (limit.stop - limit.start - 1)
    if 10 ** (used.stop - used.start) <= least * scale // _PARTS - amount:
        # Within any limit of so many digits, unless the first of them are zeros.
        first = limit.start
        near = [index for index in indexes if values[index][first] == _ZERO]
    elif more >= 0 and 10**more * _PARTS <= scale and not amount:
        # The digits in front of the last `more` ones, and then all, are less than the limit's.
        near = [index for index in indexes if (value := values[index])[used] >= value[limit]]
    else:
        near = indexes
    return (index for index in near if check.fails(values[index]))
