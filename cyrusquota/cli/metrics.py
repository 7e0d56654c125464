"""cyrusquota metrics: Prometheus text for the textfile collector of node_exporter.

A run that fails leaves a file that says so, so that an alert needs no look at exit statuses: the
metrics of the source are gone from it, those of the map are still there. Wrong usage writes
nothing; an alert on the age of the last success notices it.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Iterable, Iterator, Optional

import attrs
import click

from cyrusquota import publish
from cyrusquota.cli import _measured
from cyrusquota.cli._amounts import size
from cyrusquota.cli._command import Command, Example, Heading, under
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._counting import Seen
from cyrusquota.cli._measured import Watch
from cyrusquota.cli._reading import read
from cyrusquota.cli._share import near_option
from cyrusquota.cli._source import RawOptions, source_options
from cyrusquota.errors import CyrusQuotaError, MapError, MapLocked, NoSuchMap, printable
from cyrusquota.maps import FORMATS, KeyForm
from cyrusquota.maps.installed import DEFAULT_PATH, InstalledMap, installed_map
from cyrusquota.maps.values import MapValues
from cyrusquota.monitoring.prometheus import Metric, exposition, value_of
from cyrusquota.publish.guard import Limits
from cyrusquota.verdicts.summary import Summary

#: Seconds for another run to put its file in place, which takes it next to none.
_PATIENCE = 10.0
_OURS = b"# HELP cyrusquota_"


@attrs.frozen
class _Map:
    """The map in place, if there is one, and what keeps it from being read, if anything does."""

    installed_map: Optional[InstalledMap] = None
    error: Optional[MapError] = None

    @classmethod
    def at(cls, path: str) -> _Map:
        try:
            return cls(installed_map(path))
        except NoSuchMap:
            return cls()
        except MapError as error:
            return cls(error=error)


_map, _written = under(Heading.MAP), under(Heading.WRITTEN)


@click.command(
    "metrics",
    cls=Command,
    examples=(
        Example("Print the metrics", "cyrusquota metrics"),
        Example(
            "Write them for node_exporter, from cron",
            "cyrusquota metrics -o /var/lib/prometheus/node-exporter/cyrusquota.prom",
        ),
        Example(
            "Ask the guard with the options of the export",
            "cyrusquota metrics --reserve 2% --max-change added=30%,100",
        ),
    ),
)
@source_options
@_written(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=file_names,
    help="The file to write, replaced atomically, mode 0644; - is standard output. Its name must"
    " end in .prom for the collector to see it.  [default: standard output]",
)
@_written("--follow-links", is_flag=True, help="If FILE is a symbolic link, follow it.")
@_written(
    "--per-user",
    is_flag=True,
    help="Also write usage and limit of every quota root. This puts the names of users into labels"
    " and takes memory for each.",
)
@near_option
@_map(
    "--map",
    "map_path",
    metavar="FILE",
    shell_complete=file_names,
    default=DEFAULT_PATH,
    show_default=True,
    help="The map to read, and to ask the guard of cyrusquota-export about. For that, give this"
    " command the same source, --reserve, and next four options as the export.",
)
@_map(
    "--key",
    type=click.Choice([form.value for form in KeyForm]),
    default=KeyForm.AUTO.value,
    show_default=True,
    help="The keys of the map.",
)
@_map(
    "--exempt",
    metavar="ADDRESS",
    multiple=True,
    help="An address or local part that the map never lists (repeatable; postmaster never is).",
)
@_map(
    "--headroom",
    metavar="SIZE",
    help="The map also lists users with less than this left.",
)
@_map(
    "--max-change",
    metavar="LIMIT",
    multiple=True,
    help=f"How much the map may change (repeatable).  [default: added={Limits().added},"
    f" removed={Limits().removed}]",
)
def metrics(
    raw: RawOptions,
    output: Optional[str],
    follow_links: bool,
    per_user: bool,
    near: float,
    map_path: str,
    key: str,
    exempt: tuple[str, ...],
    headroom: Optional[str],
    max_change: tuple[str, ...],
) -> None:
    """Write the state of the quotas and of the map as Prometheus metrics.

    They are for the textfile collector of node_exporter. No user is named unless --per-user is
    given. The guard is asked about the map that an export would write now; that map is not written.
    If the quota data cannot be read, cyrusquota_up is 0, the metrics of the quotas are left out,
    and cyrusquota_last_success_timestamp_seconds keeps its value.
    """
    least = 0 if headroom is None else size("--headroom", headroom)
    map_values = MapValues(FORMATS["lsearch"], reserve=raw.reserve, headroom=least)
    watch = Watch(KeyForm(key), exempt, map_values, Limits.of(max_change))
    output = None if output == "-" else output
    found = _Map.at(map_path)
    try:
        told = list(_metrics(raw, watch, found, near, per_user))
    except Exception:
        with contextlib.suppress(CyrusQuotaError, OSError):
            last = _last_success(output, follow_links)
            told = [*_measured.always(False, last), *_measured.of_map(found.installed_map)]
            _put(told, output, follow_links)
        raise
    _put(told, output, follow_links)
    if found.error is not None:
        raise found.error


def _metrics(
    raw: RawOptions, watch: Watch, found: _Map, near: float, per_user: bool
) -> Iterator[Metric]:
    chosen = raw.load()
    seen = Seen(chosen, Summary(chosen.policy, near, keep=0), {} if per_user else None)
    reading = read(chosen, watch.map_values.wanted, seen)
    yield from _measured.always(True, _measured.now())
    yield from _measured.of_roots(seen.summary)
    yield from _measured.of_users(reading, chosen.problems.count)
    yield from _measured.of_each(seen.by_root or {})
    yield from _measured.of_map(found.installed_map)
    if found.installed_map is not None:
        yield from watch.metrics(chosen, reading, found.installed_map)


def _put(metrics: Iterable[Metric], output: Optional[str], follow_links: bool) -> None:
    content = exposition(metrics)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        publish.publish(
            output,
            content,
            is_ours=lambda old: old.startswith(_OURS),
            follow_links=follow_links,
            wait=_PATIENCE,
        )
    except MapLocked:
        raise MapLocked(
            f"{printable(output)}: another run is at work on this file; try again later"
        ) from None


def _last_success(output: Optional[str], follow_links: bool) -> Optional[float]:
    """What the file in place says of when all was well."""
    with contextlib.suppress(CyrusQuotaError):
        old = None if output is None else publish.in_place(output, follow_links=follow_links)
        return value_of(_measured.LAST_SUCCESS, old or b"")
    return None
