"""Findings, all their kinds by name, and which of them follow from others."""

from __future__ import annotations

from typing import AbstractSet, Iterable, Mapping, Optional, Sequence

import attrs

from cyrusquota.doctor.kinds import CYRUS_KINDS, MAP_KINDS, OK, Kind, Severity
from cyrusquota.doctor.kinds_engine import ENGINE_KINDS
from cyrusquota.doctor.kinds_exim import EXIM_KINDS, SCHEDULE_KINDS


@attrs.frozen
class Finding:
    """What the doctor found, what to do about it, and the commands of a shell that do it.

    `held_back` are the kinds of findings that follow from this one, and `severity` is the worst of
    all of them.
    """

    kind: Kind
    said: str
    do: str = ""
    commands: tuple[str, ...] = ()
    severity: Severity = attrs.field(
        default=attrs.Factory(lambda self: self.kind.severity, takes_self=True)
    )
    held_back: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """What to do, with the commands, in one line."""
        return ": ".join(filter(None, (self.do, "; ".join(self.commands))))


#: Kinds of findings by what they are about, in the order in which they are checked.
GROUPS: Mapping[str, tuple[Kind, ...]] = {
    "Cyrus": CYRUS_KINDS,
    "The map": MAP_KINDS,
    "Exim": EXIM_KINDS,
    "Jobs and services": SCHEDULE_KINDS,
    "Several hosts": ENGINE_KINDS,
}
#: Every kind of finding by its name.
KINDS: Mapping[str, Kind] = {kind.id: kind for kinds in GROUPS.values() for kind in kinds}


def finding(kind: str, said: str, *commands: str, do: Optional[str] = None) -> Finding:
    """Return a finding with its commands; `do` replaces the general advice of its kind."""
    return Finding(KINDS[kind], said, KINDS[kind].do if do is None else do, commands)


def without_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that follow from no other; each of them names those that do."""
    kinds = {one.kind.id for one in findings}
    origins = {kind: _origin(kind, kinds) for kind in kinds}
    shown = []
    for one in findings:
        if origins[one.kind.id] != one.kind.id:
            continue
        followed = [other for other in findings if origins[other.kind.id] == one.kind.id]
        bad = (other.kind.id for other in followed if other is not one and other.severity is not OK)
        held_back = tuple(dict.fromkeys(kind for kind in bad if kind != one.kind.id))
        shown.append(attrs.evolve(one, severity=worst(followed), held_back=held_back))
    return shown


def _origin(kind: str, found: AbstractSet[str]) -> str:
    """Return the kind that a finding follows from in the end, or its own."""
    causes = [cause for cause in KINDS[kind].causes if cause in found]
    return _origin(causes[0], found) if causes else kind


def worst(findings: Iterable[Finding]) -> Severity:
    """Return the worst severity among `findings`."""
    return max((one.severity for one in findings), key=lambda one: one.value, default=OK)
