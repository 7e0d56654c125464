"""A finding of the doctor, and every kind of finding by its name."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional

import attrs

from cyrusquota.doctor.kinds import CYRUS_KINDS, MAP_KINDS, OK, Kind, Severity
from cyrusquota.doctor.kinds_exim import EXIM_KINDS, SCHEDULE_KINDS


@attrs.frozen
class Finding:
    """What is so, and what to do about it."""

    kind: Kind
    said: str
    do: str = ""


#: Every kind of finding by its name, in the order in which they are looked for.
KINDS: Mapping[str, Kind] = {
    kind.id: kind for kind in (*CYRUS_KINDS, *MAP_KINDS, *EXIM_KINDS, *SCHEDULE_KINDS)
}


def finding(kind: str, said: str, do: Optional[str] = None) -> Finding:
    """A finding of a kind; `do` is what to do in this case, where that can be said more exactly."""
    return Finding(KINDS[kind], said, KINDS[kind].do if do is None else do)


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst."""
    return max((one.kind.severity for one in findings), key=lambda one: one.value, default=OK)
