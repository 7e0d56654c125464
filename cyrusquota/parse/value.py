"""The value of one record of the quota database (imap/quota_db.c, imap/dlist.c).

Two grammars: `USED LIMIT`, written up to Cyrus 2.4 and read by all, and the dlist form
`%(S (USED LIMIT) M (...) AS (...) NF (...) MODSEQ n)`, written since 2.5. They are read
exactly as lmtpd reads them: in places stricter than one would guess (a number with a sign is 0),
in others laxer (a cut value sets nothing, so its root is unlimited).
"""

from __future__ import annotations

import re
from typing import Mapping, Optional

from cyrusquota.cyrus import dlist
from cyrusquota.cyrus.repairs import DELETE_ROW, SET_LIMIT
from cyrusquota.errors import BadValue, CyrusQuotaError, DataError, OnProblem, Place, raise_problem
from cyrusquota.quota import QuotaRoot, Resource, Usage

#: The usage of the resources that a value names.
Usages = Mapping[Resource, Usage]

#: What Cyrus itself writes; nearly all values are of this form.
CANONICAL = re.compile(
    rb"%\(S \(([0-9]{1,18})(?: ([0-9]{1,15}))?\) M \(([0-9]{1,18})(?: ([0-9]{1,15}))?\)"
    rb" AS \(([0-9]{1,18})(?: ([0-9]{1,15}))?\) NF \(([0-9]{1,18})(?: ([0-9]{1,15}))?\)"
    rb"(?: MODSEQ [0-9]+)?\)"
)
_WORD = re.compile(rb"[^ \t\r\n]+")
#: As scanf's %lld: behind white space that does not divide words, a sign, digits, and any junk.
_OLD_NUMBER = re.compile(rb"[\v\f]*([+-]?[0-9]+)")
_BY_CODE = {resource.code: resource for resource in Resource}
_OLD_ADVICE = f"Cyrus answers 'invalid format' for this root; {DELETE_ROW}"
_DAMAGED_ADVICE = "Cyrus does not write such a value; restore it from a backup"
_CUT_ADVICE = f"Cyrus takes such a root for unlimited; {SET_LIMIT}"


def quota_root(
    key: bytes, value: bytes, *, on_problem: OnProblem = raise_problem
) -> Optional[QuotaRoot]:
    """Return the quota root that a database record stands for, or None if Cyrus sees none.

    `key` is the internal mailbox name. Problems as in `usages`, with the root named.
    """

    def named(problem: CyrusQuotaError) -> None:
        on_problem(problem.at(Place(key=key)) if isinstance(problem, DataError) else problem)

    set_usages = usages(value, on_problem=named)
    if set_usages is None:
        return None
    return QuotaRoot.of(key.decode("utf-8", "surrogateescape"), set_usages)


def usages(value: bytes, *, on_problem: OnProblem = raise_problem) -> Optional[Usages]:
    """Return the usage of each resource that `value` names, or None if Cyrus sees no root in it.

    An empty value is no root and no problem. A value in bad format goes to `on_problem` as
    `BadValue` and is no root; a cut or mis-nested one does too and sets nothing, which Cyrus takes
    for unlimited.
    """
    canonical = CANONICAL.fullmatch(value)
    if canonical is not None:
        return _from_canonical(canonical.groups())
    if not value or value[:1] == b"\0":
        return None
    if len(value) > dlist.LONGEST:
        expected = f"a value of at most {dlist.LONGEST} bytes"
        on_problem(_bad(value, expected, advice=_DAMAGED_ADVICE))
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
    """Read `USED LIMIT [ignored]`, and the same again after each resource code."""
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
    """Read a number as scanf's %lld does: trailing junk is ignored, overflow saturates."""
    match = _OLD_NUMBER.match(words[at]) if at < len(words) else None
    if match is None:
        return None
    digits = match[1].lstrip(b"+-").lstrip(b"0")[:20]
    number = int(digits or b"0")
    number = -number if match[1].startswith(b"-") else number
    return max(-(1 << 63), min(number, (1 << 63) - 1))


# The dlist form


def _from_dlist(value: bytes, on_problem: OnProblem) -> Optional[Usages]:
    end, pairs = dlist.parse(value, signed=True)
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
    """Read an atom or string of digits below 2**64 as signed 64 bits; anything else is 0."""
    if not isinstance(node, bytes) or not node.isdigit():
        return 0
    digits = node.lstrip(b"0")
    number = int(digits or b"0") if len(digits) <= 20 else 1 << 64
    if number >= 1 << 64:
        return 0
    return number - (1 << 64) if number >= 1 << 63 else number


def _bad(value: bytes, expected: str, *, at: int = 0, advice: str) -> BadValue:
    return BadValue(expected, place=Place(column=at + 1), found=value, advice=advice)
