"""The options that say where the quotas are, the same for every command."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, BinaryIO, Callable, Optional

import click

from cyrusquota import cyrusdb, imapdconf, source
from cyrusquota.cli._run import Problems
from cyrusquota.errors import OptionError, source_error
from cyrusquota.mailbox import Naming
from cyrusquota.source import Source

_OPTIONS = (
    click.option(
        "-C",
        "--config",
        metavar="FILE",
        help=f"imapd.conf to follow.  [default: {imapdconf.DEFAULT_PATH}]",
    ),
    click.option(
        "--db",
        metavar="PATH",
        help="A quota database file, or a quotalegacy tree: the directory that holds quota/ (and"
        " domain/), or quota/ itself.",
    ),
    click.option(
        "--backend",
        metavar="NAME",
        help=f"With --db: {', '.join(cyrusdb.BACKENDS)}.  [default: guess]",
    ),
    click.option(
        "--report", metavar="FILE", help="Output of `quota`, text or JSON; - is standard input."
    ),
    click.option(
        "--dump",
        metavar="FILE",
        help="Output of `cyr_dbtool ... show` or `db_dump`, or a flat file; - is standard input.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing of single unreadable records."),
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, and the `source` and `problems` that come of them."""

    @functools.wraps(command)
    def wrapped(
        config: Optional[str],
        db: Optional[str],
        backend: Optional[str],
        report: Optional[str],
        dump: Optional[str],
        quiet: bool,
        **others: Any,
    ) -> Any:
        problems = Problems(quiet=quiet)
        chosen = _source(config, db, backend, report, dump, problems)
        try:
            return command(source=chosen, problems=problems, **others)
        finally:
            problems.close()

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _source(
    config: Optional[str],
    db: Optional[str],
    backend: Optional[str],
    report: Optional[str],
    dump: Optional[str],
    problems: Problems,
) -> Source:
    if sum(place is not None for place in (db, report, dump)) > 1:
        raise OptionError("--db, --report and --dump exclude one another; give one of them")
    if backend is not None and db is None:
        raise OptionError("--backend goes with --db; imapd.conf names the backend otherwise")
    conf, naming = None, Naming()
    if config is not None or (db, report, dump) == (None, None, None):
        conf = imapdconf.load(config or imapdconf.DEFAULT_PATH)
        naming = conf.naming
        for warning in conf.warnings:
            problems.say(warning)
    if db is not None:
        return source.database(db, backend, naming)
    if report is not None:
        return source.reported(*_stream(report), naming)
    if dump is not None:
        return source.dumped(*_stream(dump), naming)
    assert conf is not None
    return source.configured(conf)


def _stream(path: str) -> tuple[BinaryIO, str]:
    if path == "-":
        return sys.stdin.buffer, "standard input"
    try:
        return click.get_current_context().with_resource(Path(path).open("rb")), path
    except OSError as error:
        raise source_error(error, path) from error
