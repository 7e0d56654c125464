"""The fast path over the values of many records at once; `value` defines what is right.

The numbers of a batch of values are taken apart by one search, and become columns.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Optional, Sequence

from cyrusquota.parse.value import CANONICAL
from cyrusquota.quota import QuotaRoot, Resource, Usage, made

_LINE = re.compile(b"^" + CANONICAL.pattern + b"$", re.MULTILINE)
#: Values that limit nothing but STORAGE.
_STORAGE = re.compile(
    rb"^%\(S \(([0-9]{1,18})(?: ([0-9]{1,15}))?\) M \([0-9]{1,18}\) AS \([0-9]{1,18}\)"
    rb" NF \([0-9]{1,18}\)(?: MODSEQ [0-9]+)?\)$",
    re.MULTILINE,
)
_LINE_BREAK = b"\n"
#: So many usages tell whether many are alike.
_FEW = 64


class Column(NamedTuple):
    """The usages of one resource, and their limits; None is unlimited."""

    used: Sequence[int]
    limits: Sequence[Optional[int]]

    def usages(self) -> list[Usage]:
        """Return them as objects; equal ones may be the same."""
        if len(set(self.used[:_FEW])) > _FEW // 2:
            return _usages(*self)
        pairs = list(zip(*self))
        distinct = list(set(pairs))
        known = dict(zip(distinct, _usages(*zip(*distinct)) if distinct else ()))
        return [*map(known.__getitem__, pairs)]


class Columns(NamedTuple):
    """The names of quota roots, and a column for each resource."""

    names: Sequence[str]
    resources: Sequence[Column]

    def roots(self) -> list[QuotaRoot]:
        """Return them as objects."""
        return made(QuotaRoot, self.names, *(column.usages() for column in self.resources))


def _usages(used: Sequence[int], limits: Sequence[Optional[int]]) -> list[Usage]:
    return made(Usage, used, limits, [True] * len(used))


def columns(keys: Sequence[bytes], values: Sequence[bytes]) -> Optional[Columns]:
    """Return the roots of records, None where one of the values is not in Cyrus's usual form."""
    text = _LINE_BREAK.join(values)
    found = _LINE.findall(text)
    # So many lines, and in each line one value.
    if len(found) != len(values) or text.count(_LINE_BREAK) >= max(1, len(values)):
        return None
    rows = list(zip(*found)) or [()] * (2 * len(Resource))
    resources = [
        Column([*map(int, used)], _limits(limits, resource.unit))
        for resource, used, limits in zip(Resource, rows[::2], rows[1::2])
    ]
    return Columns(names(keys), resources)


def storage(values: Sequence[bytes]) -> Optional[Column]:
    """Return the column of STORAGE, None where a value limits more or is not in the usual form."""
    text = _LINE_BREAK.join(values)
    found = _STORAGE.findall(text)
    if len(found) != len(values) or text.count(_LINE_BREAK) >= max(1, len(values)):
        return None
    used, limits = zip(*found) if found else ((), ())
    return Column([*map(int, used)], _limits(limits, Resource.STORAGE.unit))


def _limits(texts: Sequence[bytes], unit: int) -> list[Optional[int]]:
    known = {text: int(text) * unit if text else None for text in set(texts)}
    return [*map(known.__getitem__, texts)]


def names(keys: Sequence[bytes]) -> list[str]:
    """Return the names of quota roots; bytes that are not UTF-8 become surrogate escapes."""
    found = _LINE_BREAK.join(keys).decode("utf-8", "surrogateescape").split("\n")
    if len(found) != len(keys):
        return [key.decode("utf-8", "surrogateescape") for key in keys]
    return found


def is_usual(value: bytes) -> bool:
    """Return whether a value is in Cyrus's usual form."""
    return CANONICAL.fullmatch(value) is not None


def usual(values: Sequence[bytes]) -> list[int]:
    """Return the indexes of the values that are in Cyrus's usual form."""
    return [at for at, value in enumerate(values) if is_usual(value)]
