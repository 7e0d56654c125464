"""cyrusquota metrics: Prometheus text for the textfile collector of node_exporter.

A run that fails leaves a file that says so, so that an alert needs no look at exit statuses: the
figures of the source are gone from it, those of the map are still there.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any, Callable, Iterable, Iterator, Optional

import attrs
import click

from cyrusquota import publish
from cyrusquota.cli import _measured
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._counting import Seen
from cyrusquota.cli._measured import Watch
from cyrusquota.cli._reading import read
from cyrusquota.cli._run import Command
from cyrusquota.cli._share import near_option
from cyrusquota.cli._source import Chosen, size, source_options
from cyrusquota.errors import CyrusQuotaError, MapError, MapLocked, NoSuchMap, printable
from cyrusquota.guard import Limits
from cyrusquota.maps import FORMATS, KeyForm
from cyrusquota.maps.answers import Answers
from cyrusquota.maps.placed import DEFAULT_PATH, PlacedMap, placed
from cyrusquota.prometheus import Metric, exposition, value_of
from cyrusquota.summary import Summary

#: Seconds for another run to put its file in place, which takes it next to none.
_PATIENCE = 10.0
_OURS = b"# HELP cyrusquota_"


@attrs.frozen
class _Map:
    """The map in place, if there is one, and what keeps it from being read, if anything does."""

    placed: Optional[PlacedMap] = None
    error: Optional[MapError] = None

    @classmethod
    def at(cls, path: str) -> _Map:
        try:
            return cls(placed(path))
        except NoSuchMap:
            return cls()
        except MapError as error:
            return cls(error=error)


def _written(command: Callable[..., Iterable[Metric]]) -> Callable[..., None]:
    """Write the metrics that `command` gives or, if it fails, what can be told without them."""

    @functools.wraps(command)
    def wrapped(output: Optional[str], follow_links: bool, map_path: str, **options: Any) -> None:
        found = _Map.at(map_path)
        try:
            metrics = list(command(found=found, **options))
        except Exception:
            with contextlib.suppress(CyrusQuotaError, OSError):
                last = _last_success(output, follow_links)
                metrics = [*_measured.always(False, last), *_measured.of_map(found.placed)]
                _put(metrics, output, follow_links)
            raise
        _put(metrics, output, follow_links)
        if found.error is not None:
            raise found.error

    return wrapped


@click.command("metrics", cls=Command)
@_written
@source_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=file_names,
    help="The file to write, whole or not at all, mode 0644; its name must end in .prom for the"
    " collector to see it.  [default: standard output]",
)
@click.option("--follow-links", is_flag=True, help="If FILE is a symbolic link, follow it.")
@click.option(
    "--per-user",
    is_flag=True,
    help="Also tell use and limit of every quota root, which puts the names of users into labels"
    " and costs memory for each.",
)
@near_option
@click.option(
    "--map",
    "map_path",
    metavar="FILE",
    shell_complete=file_names,
    default=DEFAULT_PATH,
    show_default=True,
    help="The map to look at, and to ask the guard of cyrusquota-export about; for that, give this"
    " command the same options for the source, --reserve and the next four as the export.",
)
@click.option(
    "--key",
    type=click.Choice([form.value for form in KeyForm]),
    default=KeyForm.AUTO.value,
    show_default=True,
    help="What the map is keyed by.",
)
@click.option(
    "--exempt",
    metavar="ADDRESS",
    multiple=True,
    help="An address or local part that the map never lists (repeatable; postmaster never is).",
)
@click.option(
    "--headroom",
    metavar="SIZE",
    help="That the map also lists users with less than this left.",
)
@click.option(
    "--max-change",
    metavar="LIMIT",
    multiple=True,
    help=f"How much the map may change (repeatable).  [default: added={Limits().added},"
    f" removed={Limits().removed}]",
)
def metrics(
    chosen: Chosen,
    found: _Map,
    per_user: bool,
    near: float,
    key: str,
    exempt: tuple[str, ...],
    headroom: Optional[str],
    max_change: tuple[str, ...],
) -> Iterator[Metric]:
    """Tell the state of the quotas and of the map as Prometheus metrics.

    For the textfile collector of node_exporter; no user is named unless --per-user is given. The
    guard is asked about the map that an export would write now; nothing of that is written. If
    the quota data cannot be read, cyrusquota_up is 0, the figures of it are left out, and
    cyrusquota_last_success_timestamp_seconds stays what it was in FILE.
    """
    least = 0 if headroom is None else size("--headroom", headroom)
    answers = Answers(FORMATS["lsearch"], reserve=chosen.reserve, headroom=least)
    watch = Watch(KeyForm(key), exempt, answers, Limits.of(max_change))
    seen = Seen(chosen, Summary(chosen.policy, near, keep=0), {} if per_user else None)
    reading = read(chosen, answers.wanted, seen)
    yield from _measured.always(True, _measured.now())
    yield from _measured.of_roots(seen.summary)
    yield from _measured.of_users(reading, chosen.problems.count)
    yield from _measured.of_each(seen.by_root or {})
    yield from _measured.of_map(found.placed)
    if found.placed is not None:
        yield from watch.metrics(chosen, reading, found.placed)


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
