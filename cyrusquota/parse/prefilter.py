"""The fast path over database values: select those of roots that may be near their limit.

Most usages are well within their limits, and most values in the form that Cyrus writes, so few
need the full grammar in `value`, which defines what is right.
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
    """The reserve below a limit, rounded so that a root on the edge is selected.

    `share` is the percent of the limit to reserve, `amount` what is reserved in addition, in bytes
    or counts.
    """

    amount: int = 0
    share: float = 0


class Threshold(NamedTuple):
    """The usage that a limit allows: `scale` _PARTS-ths of it, less `amount`."""

    scale: int
    amount: int

    def is_crossed(self, used: bytes, limit: bytes) -> bool:
        return int(used) > int(limit) * self.scale // _PARTS - self.amount

    def crossed(
        self, pairs: Iterable[tuple[Optional[bytes], Optional[bytes]]], unit: int
    ) -> list[int]:
        """Return the indexes of the pairs of used, in units, and limit that cross it."""
        scale, amount = self
        return [
            index
            for index, (used, limit) in enumerate(pairs)
            if limit and int(used or 0) * unit > int(limit) * scale // _PARTS - amount
        ]


class _Check(NamedTuple):
    """Where used and limit stand in a value, and the threshold between them."""

    used: slice
    limit: slice
    threshold: Threshold

    def fails(self, value: bytes) -> bool:
        return self.threshold.is_crossed(value[self.used], value[self.limit])


_SHAPE = bytes.maketrans(b"123456789", b"000000000")
#: Values written up to 2.4. A limit of -1 is unlimited, and -0 of the same shape is 0.
_OLD = re.compile(rb"([0-9]{1,18}) ([0-9]{1,15})")
_OLD_UNLIMITED = re.compile(rb"[0-9]{1,18} -1")
#: Limits are multiplied in fixed point, rounded down.
_PARTS = 1 << 20
_ZERO = ord("0")
#: Shapes to remember.
_MANY = 1 << 14


@attrs.frozen
class Prefilter:
    """Selects the values whose root may be beyond one of the `margins`.

    The shape of a value is the value with each digit replaced by 0. There are few shapes, so only
    one value of each is matched to find where the numbers stand. For most values the number of
    digits, or the first digits, already prove that the usage is well within the limit. A value in
    a form that Cyrus does not write is always selected.
    """

    margins: Mapping[Resource, Margin]
    _known: dict[bytes, list[_Check]] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
        """Return the indexes of the values for which `wants` is True."""
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
        """Return whether the root of `value` may be beyond a margin."""
        checks = self._checks(value)
        if checks is None:
            return not _OLD_UNLIMITED.fullmatch(value)
        return any(check.fails(value) for check in checks)

    def _checks(self, value: bytes) -> Optional[list[_Check]]:
        """Return the checks for all values of the shape of `value`, None for an unknown form."""
        match = CANONICAL.fullmatch(value) or _OLD.fullmatch(value)
        if match is None:
            return None
        checks = []
        for resource, group in zip(Resource, range(2, match.re.groups + 1, 2)):
            threshold = self.threshold(resource)
            if threshold is not None and match[group] is not None:
                used, limit = slice(*match.span(group - 1)), slice(*match.span(group))
                checks.append(_Check(used, limit, threshold))
        return checks

    def threshold(self, resource: Resource) -> Optional[Threshold]:
        """Return the threshold for `resource`, None if any usage is fine."""
        margin = self.margins.get(resource)
        if margin is None:
            return None
        kept = _PARTS if not margin.share else int(_PARTS * (1 - margin.share / 100)) - 1
        return Threshold(resource.unit * kept, margin.amount)


def _failing(check: _Check, indexes: list[int], values: Sequence[bytes]) -> Iterable[int]:
    """Return the values of one shape that fail `check`, by calculating only a few."""
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
