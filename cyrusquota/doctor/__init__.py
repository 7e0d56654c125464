"""Look at everything that the map's way from Cyrus to Exim depends on, and say what is wrong.

One module for each of the four that are looked at (`cyrus`, `map_file`, `exim`, `schedule`), and
tables of all that they may find (`kinds`, `kinds_exim`). Nothing is written, locked, delivered or reloaded;
what may not be read is a finding, not an error.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, Optional

import attrs

from cyrusquota.doctor import cyrus, map_file, schedule
from cyrusquota.doctor import exim as exim_side
from cyrusquota.doctor.findings import KINDS, Finding, worst
from cyrusquota.doctor.kinds import Kind, Severity
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH
from cyrusquota.mta.exim import Exim

__all__ = ["KINDS", "Finding", "Host", "Kind", "Severity", "examine", "worst"]


@attrs.frozen
class Host:
    """What to look at.

    `map` is None for the one that the router asks. `root` is where crontabs and units are found,
    `domain` what to add to a user of whom no domain is known when Exim is asked about him.
    """

    config: str
    map: Optional[str] = None
    exim: Optional[Exim] = None
    domain: Optional[str] = None
    root: Path = Path("/")
    systemctl: Optional[str] = None


def examine(host: Host) -> Iterator[Finding]:
    """All findings, in the order of the way from Cyrus to Exim."""
    found, quotas = cyrus.examine(host.config)
    yield from found
    configured, router, exim = exim_side.configured(host.exim, host.map or DEFAULT_PATH)
    path = host.map or (DEFAULT_PATH if router is None else router.map)
    max_age = DEFAULT_MAX_AGE if router is None else router.max_age
    found, table = map_file.examine(path, max_age, exim, quotas, time.time())
    yield from found
    yield from configured
    if exim is not None and router is not None:
        yield from exim_side.tried(exim, router, path, table, quotas, host.domain)
    yield from schedule.examine(host.root, path, max_age, host.systemctl)
