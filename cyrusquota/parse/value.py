"""The value of one record of the quota database (imap/quota_db.c, imap/dlist.c).

Two grammars: `USED LIMIT`, written up to Cyrus 2.4 and read by all, and the dlist form
`%(S (USED LIMIT) M (...) AS (...) NF (...) MODSEQ n)`, written since 2.5. Read exactly as lmtpd
reads them, which is stricter in places than a reader would guess (a number with a sign is 0) and
laxer in others (a value that breaks off sets nothing, so its root is unlimited).
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import Iterable, Mapping, NamedTuple, Optional, Sequence

import attrs

from cyrusquota.cyrus import dlist
from cyrusquota.errors import BadValue, CyrusQuotaError, DataError, OnProblem, Place, raise_problem
from cyrusquota.quota import QuotaRoot, Resource, Usage

#: What comes of a value: nothing (no such root), or the usage of the resources it names.
Usages = Mapping[Resource, Usage]

#: What Cyrus itself writes, which is nearly every value there is.
_CANONICAL = re.compile(
    rb"%\(S \(([0-9]{1,18})(?: ([0-9]{1,15}))?\) M \(([0-9]{1,18})(?: ([0-9]{1,15}))?\)"
    rb" AS \(([0-9]{1,18})(?: ([0-9]{1,15}))?\) NF \(([0-9]{1,18})(?: ([0-9]{1,15}))?\)"
    rb"(?: MODSEQ [0-9]+)?\)"
)
_WORD = re.compile(rb"[^ \t\r\n]+")
_OLD_NUMBER = re.compile(rb"[+-]?[0-9]+")
_BY_CODE = {resource.code: resource for resource in Resource}
_OLD_ADVICE = "Cyrus answers 'invalid format' for this root; `quota -f` or SETQUOTA repairs it"
_CUT_ADVICE = "Cyrus takes such a root for unlimited; `quota -f` or SETQUOTA repairs it"


def quota_root(
    key: bytes, value: bytes, *, on_problem: OnProblem = raise_problem
) -> Optional[QuotaRoot]:
    """The quota root that a database record stands for, or None if Cyrus sees none.

    `key` is the internal mailbox name. Problems as in `usages`, with the root named.
    """

    def named(problem: CyrusQuotaError) -> None:
        on_problem(problem.at(Place(key=key)) if isinstance(problem, DataError) else problem)

    set_usages = usages(value, on_problem=named)
    if set_usages is None:
        return None
    return QuotaRoot.of(key.decode("utf-8", "surrogateescape"), set_usages)


def usages(value: bytes, *, on_problem: OnProblem = raise_problem) -> Optional[Usages]:
    """What `value` says of each resource it names, or None if Cyrus sees no root in it.

    An empty value is no root and no problem. One in bad format is reported as `BadValue` and is
    no root; one that breaks off or is mis-nested is reported too and sets nothing, which Cyrus
    takes for unlimited. `on_problem` decides whether a report ends the reading.
    """
    canonical = _CANONICAL.fullmatch(value)
    if canonical is not None:
        return _from_canonical(canonical.groups())
    if not value or value[:1] == b"\0":
        return None
    return (_from_dlist if value[:1] == b"%" else _from_numbers)(value, on_problem)


def _from_canonical(numbers: tuple[Optional[bytes], ...]) -> Usages:
    found = {}
    for resource, used, limit in zip(Resource, numbers[::2], numbers[1::2]):
        found[resource] = Usage.in_units(
            resource, int(used or b"0"), None if limit is None else int(limit)
        )
    return found


# The old form


def _from_numbers(value: bytes, on_problem: OnProblem) -> Optional[Usages]:
    """`USED LIMIT [ignored]`, once more after each resource code."""
    words = _WORD.findall(value.split(b"\0", 1)[0])
    found: dict[Resource, Usage] = {}
    resource: Optional[Resource] = Resource.STORAGE
    at = 0
    while True:
        used, limit = _old_number(words, at), _old_number(words, at + 1)
        if resource is None or used is None or limit is None:
            on_problem(_bad(value, "USED LIMIT [RESOURCE USED LIMIT]...", advice=_OLD_ADVICE))
            return None
        found[resource] = Usage.in_units(resource, used, limit)
        at += 2
        # An interrupted `quota -f` of old left a third number behind.
        if _old_number(words, at) is not None:
            at += 1
        if at == len(words):
            return found
        resource = _BY_CODE.get(words[at].upper())
        at += 1


def _old_number(words: list[bytes], at: int) -> Optional[int]:
    """A number as scanf's %lld reads it: trailing junk is ignored, overflow saturates."""
    match = _OLD_NUMBER.match(words[at]) if at < len(words) else None
    if match is None:
        return None
    digits = match.group().lstrip(b"+-").lstrip(b"0")[:20]
    number = int(digits or b"0")
    number = -number if match.group().startswith(b"-") else number
    return max(-(1 << 63), min(number, (1 << 63) - 1))


# The dlist form


def _from_dlist(value: bytes, on_problem: OnProblem) -> Optional[Usages]:
    end, pairs = dlist.parse(value)
    if pairs is None:
        expected = "a complete dlist, %(S (USED LIMIT) ...)"
        on_problem(_bad(value, expected, at=end, advice=_CUT_ADVICE))
        return {}
    if end != len(value):
        on_problem(_bad(value, "nothing after the closing parenthesis", at=end, advice=_OLD_ADVICE))
        return None
    found: dict[Resource, Usage] = {}
    for key, node in pairs:
        resource = _BY_CODE.get(key)
        if resource is not None and resource not in found:
            children = [child for _, child in node] if isinstance(node, list) else []
            used = _number(children[0]) if children else 0
            limit = _number(children[1]) if len(children) > 1 else None
            found[resource] = Usage.in_units(resource, used, limit)
    return found


def _number(node: dlist.Node) -> int:
    """An atom or string of digits below 2**64, as a signed 64-bit number; anything else is 0."""
    if not isinstance(node, bytes) or not node.isdigit():
        return 0
    digits = node.lstrip(b"0")
    number = int(digits or b"0") if len(digits) <= 20 else 1 << 64
    if number >= 1 << 64:
        return 0
    return number - (1 << 64) if number >= 1 << 63 else number


def _bad(value: bytes, expected: str, *, at: int = 0, advice: str) -> BadValue:
    return BadValue(expected, place=Place(column=at + 1), found=value, advice=advice)


# The fast path: many values at once


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
        match = _CANONICAL.fullmatch(value) or _OLD.fullmatch(value)
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
