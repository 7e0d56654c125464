"""Check imapd.conf, the quota database, the map, Exim and the schedule.

There is one module for each side (`cyrus`, `map_file`, `exim` and `exim_answers`, `schedule`);
`kinds` and `kinds_exim` list all kinds of findings, and which of them follow from others. The
doctor only reads: it changes, locks, delivers and reloads nothing. A file that it may not read is a
finding, not an error.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Iterator, Optional

import attrs

from cyrusquota.doctor import cyrus, engine, exim_answers, map_file, schedule
from cyrusquota.doctor import exim as exim_side
from cyrusquota.doctor.engine import SharedEngine
from cyrusquota.doctor.export_command import ExportCommand, options_for
from cyrusquota.doctor.findings import KINDS, Finding, without_consequences, worst
from cyrusquota.doctor.kinds import Kind, Severity
from cyrusquota.doctor.schedule import Schedule
from cyrusquota.errors import MapError
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH, MIRROR_MAX_AGE, installed_map
from cyrusquota.mta.exim import Exim

__all__ = [
    "KINDS",
    "Finding",
    "Host",
    "Kind",
    "Severity",
    "SharedEngine",
    "examine",
    "examine_mx",
    "worst",
]


@attrs.frozen
class Host:
    """What to check.

    `map` is None for the map that the router uses. Crontabs and units are below `root`. Exim is
    asked about users without a domain as users of `domain`. `service` is the name of lmtpd in
    cyrus.conf, None for the usual one. `exports_to` is the map of an export that names none itself.
    """

    config: str
    map: Optional[str] = None
    exim: Optional[Exim] = None
    domain: Optional[str] = None
    root: Path = Path("/")
    systemctl: Optional[str] = None
    service: Optional[str] = None
    exports_to: Optional[str] = None


def examine_mx(host: Host, shared: SharedEngine) -> Iterator[Finding]:
    """Check an MX without Cyrus, whose map a mirror writes, and yield the findings."""
    options = ("--key", shared.key, "--max-age", str(MIRROR_MAX_AGE))
    found, router, exim = exim_side.check_configuration(
        host.exim, host.map or DEFAULT_PATH, options
    )
    path = host.map or (DEFAULT_PATH if router is None else router.map)
    max_age = None if router is None else router.max_age
    if exim is not None and router is not None:
        with contextlib.suppress(MapError):
            found += exim_answers.examine_mx(exim, router, installed_map(path), host.domain)
    # It sends mail on to the backends.
    yield from without_consequences([one for one in found if one.kind.id != "delivery-missing"])
    yield from engine.examine(attrs.evolve(shared, map=path, max_age=max_age))


def examine(host: Host) -> list[Finding]:
    """Check `host` and return the findings, from Cyrus to Exim, without their consequences."""
    return without_consequences(list(_everything(host)))


def _everything(host: Host) -> Iterator[Finding]:
    configured, router, exim = exim_side.check_configuration(
        host.exim, host.map or DEFAULT_PATH, options_for(host.config)
    )
    path = host.map or (DEFAULT_PATH if router is None else router.map)
    max_age = DEFAULT_MAX_AGE if router is None else router.max_age
    jobs = Schedule.below(host.root)
    export = ExportCommand.on_host(jobs, path, host.exports_to, host.config)
    found, quotas = cyrus.examine(host.config, host.service, export)
    has_domains = router is not None and router.lookup and not router.looks_up_local_parts
    yield from (one for one in found if not (has_domains and one.kind.id == "virtual-domains"))
    found, table = map_file.examine(path, max_age, exim, quotas, export, time.time())
    yield from found
    yield from configured
    if exim is not None:
        yield from exim_answers.examine(exim, router, path, table, quotas, host.domain, export)
    yield from schedule.examine(jobs, path, max_age, host.systemctl, host.exports_to, export.line())
