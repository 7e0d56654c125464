"""The output of `quota -J` since Cyrus 3.0 (imap/quota.c): one object, a member for each root.

Sizes and limits are exact bytes, but a limit is printed only where it is above 0, so a root whose
limit is 0 looks unlimited here. Memory does not grow with the number of roots.
"""

from __future__ import annotations

import json
from typing import BinaryIO, Iterator, Optional

from cyrusquota.cyrus.names import internal_name
from cyrusquota.errors import BadReport, OnProblem, Place
from cyrusquota.parse import json_members
from cyrusquota.quota import PRINTED_NAMES, QuotaRoot, Resource, Usage

_REPAIRS = "_repairs"


def roots(
    first: bytes, stream: BinaryIO, *, source: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    """Yield every quota root of the object that begins with `first` and continues in `stream`.

    Raises `BadReport` for what is no JSON object, or a cut one.
    """
    for offset, name, value in json_members.members(first, stream, source):
        if name == _REPAIRS:
            continue
        place = Place(source, offset=offset, key=name.encode("utf-8", "surrogatepass"))
        usages = _usages(value)
        if not _is_nameable(name) or usages is None:
            expected = '{"STORAGE": {"used": NUMBER, "limit": NUMBER}, ...}'
            advice = "the root is left out; run `quota -J` again"
            on_problem(BadReport(expected, place=place, found=_found(value), advice=advice))
        else:
            yield QuotaRoot.of(internal_name(name), usages)


def _is_nameable(name: str) -> bool:
    try:
        return bool(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False


def _usages(value: object) -> Optional[dict[Resource, Usage]]:
    if not isinstance(value, dict):
        return None
    usages = {}
    for printed, figures in value.items():
        if not isinstance(figures, dict):
            return None
        used, limit = _number(figures.get("used")), _number(figures.get("limit"))
        if used is None or (limit is None and "limit" in figures):
            return None
        if printed in PRINTED_NAMES:
            usages[PRINTED_NAMES[printed]] = Usage(used, limit)
    return usages


def _number(value: object) -> Optional[int]:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(1 << 63) <= value < 1 << 63 else None


def _found(value: object) -> bytes:
    try:
        return json.dumps(value)[:200].encode()
    except RecursionError:
        return b"values nested without end"
