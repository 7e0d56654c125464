"""Findings, and all their kinds by name."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional

import attrs

from cyrusquota.doctor.kinds import CYRUS_KINDS, MAP_KINDS, OK, Kind, Severity
from cyrusquota.doctor.kinds_exim import EXIM_KINDS, SCHEDULE_KINDS


@attrs.frozen
class Finding:
    """What the doctor found, and what to do about it."""

    kind: Kind
    said: str
    do: str = ""


#: Every kind of finding by its name, in the order in which they are checked.
KINDS: Mapping[str, Kind] = {
    kind.id: kind for kind in (*CYRUS_KINDS, *MAP_KINDS, *EXIM_KINDS, *SCHEDULE_KINDS)
}


def finding(kind: str, said: str, do: Optional[str] = None) -> Finding:
    """Return a finding; `do` replaces the general advice of its kind."""
    return Finding(KINDS[kind], said, KINDS[kind].do if do is None else do)


def worst(findings: Iterable[Finding]) -> Severity:
    """Return the worst severity among `findings`."""
    return max((one.kind.severity for one in findings), key=lambda one: one.value, default=OK)
