"""cyrusquota metrics: write Prometheus text for the textfile collector of node_exporter.

A run that fails writes a file that says so, without the metrics of the source but with those of the
map, so that no alert needs the exit status. Wrong usage writes nothing; an alert on the age of the
last success notices it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Iterable, Iterator, Optional

import click

from cyrusquota import __version__, publish
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import mirrored
from cyrusquota.cli.map_options import MapOptions, comparison_options
from cyrusquota.cli.option_types import file_names
from cyrusquota.cli.options import RawOptions, source_options
from cyrusquota.cli.scan import SummaryCollector, near_option, scan
from cyrusquota.errors import CyrusQuotaError, MapError, MapLocked, NoSuchMap, printable
from cyrusquota.maps.installed import DEFAULT_PATH, InstalledMap, installed_map
from cyrusquota.monitoring import metrics as metric
from cyrusquota.monitoring.prometheus import Metric, exposition, value_of
from cyrusquota.verdicts.summary import Summary

#: Seconds to wait for another run to put its file in place, which takes it almost no time.
_MAX_WAIT = 10.0
_OUR_FIRST_LINE = b"# HELP cyrusquota_"

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
@_map(
    "--mirror",
    is_flag=True,
    help="Write the state of the map of cyrusquota-mirror and of the stores it comes from, instead"
    " of quotas; for an MX without Cyrus.",
)
@_written(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=file_names,
    help="The file to write, replaced atomically, mode 0644; - is standard output. Its name must"
    " end in .prom for the collector to see it.  [default: standard output]",
)
@_written(
    "--follow-links", is_flag=True, needs="-o FILE", help="If FILE is a symbolic link, follow it."
)
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
@comparison_options
def metrics(
    raw: RawOptions,
    mirror: bool,
    output: Optional[str],
    follow_links: bool,
    per_user: bool,
    near: float,
    map_path: str,
    map_options: MapOptions,
) -> None:
    """Write the state of the quotas and of the map as Prometheus metrics.

    They are for the textfile collector of node_exporter. No user is named unless --per-user is
    given. The guard is asked about the map that an export would write now; that map is not written.
    If the quota data cannot be read, cyrusquota_up is 0, the metrics of the quotas are left out,
    and cyrusquota_last_success_timestamp_seconds keeps its value.
    """
    output = None if output == "-" else output
    found: Optional[InstalledMap] = None
    map_problem: Optional[MapError] = None
    if mirror:
        map_path = mirrored(click.get_current_context(), "map_path")
    try:
        found = installed_map(map_path)
    except NoSuchMap:
        pass
    except MapError as error:
        map_problem = error
    try:
        if mirror:
            written = list(_of_mirror(map_path, found))
        else:
            written = list(_metrics(raw, map_options, found, near, per_user))
    except Exception:
        with contextlib.suppress(CyrusQuotaError, OSError):
            last = _last_success(output, follow_links)
            _put(
                [*metric.of_run(False, last, version=__version__), *metric.of_map(found)],
                output,
                follow_links,
            )
        raise
    _put(written, output, follow_links)
    if map_problem is not None:
        raise map_problem


def _of_mirror(map_path: str, found: Optional[InstalledMap]) -> Iterator[Metric]:
    from cyrusquota.cli import store_metrics
    from cyrusquota.engine import report

    seen = report.load(report.place(map_path))
    yield from metric.of_run(True, round(time.time(), 3), version=__version__)
    yield from metric.of_map(found)
    yield from store_metrics.of_stores(seen)


def _metrics(
    raw: RawOptions,
    map_options: MapOptions,
    found: Optional[InstalledMap],
    near: float,
    per_user: bool,
) -> Iterator[Metric]:
    options = raw.load()
    collector = SummaryCollector(
        options, Summary(options.policy, near, keep=0), {} if per_user else None
    )
    result = scan(options, map_options.values.effective_reserve, collector)
    yield from metric.of_run(True, round(time.time(), 3), version=__version__)
    yield from metric.of_summary(collector.summary)
    yield from metric.of_users(
        result.users, result.refused, problems=options.problems.count, seconds=result.seconds
    )
    yield from metric.of_roots(collector.by_root or {})
    yield from metric.of_map(found)
    if found is not None:
        name = options.source.name
        next_map = map_options.preview(found, result.verdicts, result.roots, name)
        is_held_back = next_map.rejection is not None
        yield from metric.of_change(next_map.change, is_held_back=is_held_back)


def _put(metrics: Iterable[Metric], output: Optional[str], follow_links: bool) -> None:
    content = exposition(metrics)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        publish.publish(
            output,
            content,
            is_ours=lambda old: old.startswith(_OUR_FIRST_LINE),
            follow_links=follow_links,
            wait=_MAX_WAIT,
        )
    except MapLocked:
        raise MapLocked(
            f"{printable(output)}: another run is at work on this file; try again later"
        ) from None


def _last_success(output: Optional[str], follow_links: bool) -> Optional[float]:
    """Return the time of the last success from the file in place, None if it has none."""
    with contextlib.suppress(CyrusQuotaError):
        old = None if output is None else publish.in_place(output, follow_links=follow_links)
        return value_of(metric.LAST_SUCCESS, old or b"")
    return None
