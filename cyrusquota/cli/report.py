"""cyrusquota report: summarise all quotas, in a terminal or as a page."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Optional

import click

from cyrusquota import publish
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.map_options import ownership_options
from cyrusquota.cli.option_types import file_names
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.cli.scan import SummaryCollector, near_option, scan
from cyrusquota.cli.terminal import terminal
from cyrusquota.display import page
from cyrusquota.display.report_model import ReportModel
from cyrusquota.display.report_object import as_object
from cyrusquota.display.text import Text
from cyrusquota.errors import CannotCreateMap, OptionError, printable
from cyrusquota.verdicts.policies import Reserve
from cyrusquota.verdicts.summary import Summary

#: The most lines of a list.
_MAX_ROWS = 1_000_000
#: Seconds to wait for another run that writes the same page.
_MAX_WAIT = 10


_shown, _written = under(Heading.ROOTS), under(Heading.WRITTEN)


@click.command(
    "report",
    cls=Command,
    examples=(
        Example("Summarise the quotas of this server", "cyrusquota report"),
        Example("Write a page for browsers", "cyrusquota report --html quotas.html"),
        Example(
            "Summarise a database from another server", "cyrusquota report --db quotas.db --top 50"
        ),
    ),
)
@source_options
@near_option
@_shown(
    "--top",
    metavar="N",
    type=click.IntRange(0, _MAX_ROWS),
    default=20,
    show_default=True,
    help="How many of the fullest roots to list.",
)
@_shown(
    "--rows",
    metavar="N",
    type=click.IntRange(0, _MAX_ROWS),
    default=200,
    show_default=True,
    help="How many domains, and how many causes of refused mail, to list at most.",
)
@_written(
    "--html",
    metavar="FILE",
    shell_complete=file_names,
    help="Write a page for browsers instead, with charts, complete in one file; - is standard"
    " output. It names users: restrict who can read it.",
)
@format_option()
@ownership_options("the page", "0640", needs="--html FILE")
def report(
    raw: RawOptions,
    near: float,
    top: int,
    rows: int,
    html: Optional[str],
    form: str,
    ownership: publish.Ownership,
) -> None:
    """Summarise all quotas, in a terminal or as a page for browsers.

    Show totals, how full the roots are, whose mail is refused, and why. The users whose mail is
    refused are those that cyrusquota-export lists. Where Cyrus counts conversations totals instead
    of the usage in the quota database, all figures are those totals.
    """
    if html is not None and form == "json":
        raise OptionError("--html excludes --format json; leave one of them out")
    if html is not None and html != "-":
        _check_directory(html)
    options = raw.load()
    model = _report_model(options, Summary(options.policy, near, top), rows)
    if form == "json":
        click.echo(json_text(as_object(model)))
        return
    if html is None:
        _print(model)
        return
    content = page.document(model).encode()
    if html == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    publish.publish(html, content, ownership, is_ours=page.is_ours, wait=_MAX_WAIT)


def _check_directory(path: str) -> None:
    """Raise `CannotCreateMap` now rather than after reading, which may take a while."""
    parent = Path(path).parent
    if not parent.is_dir():
        where, directory = printable(path), printable(str(parent))
        raise CannotCreateMap(
            f"--html {where}: the directory {directory} does not exist; make it first, or name a"
            " file in another"
        )


def _print(model: ReportModel) -> None:
    screen = terminal()
    text = Text(screen.width, screen.charset, screen.coloured)
    lines = "".join(f"{line}\n" for line in text.lines(model))
    sys.stdout.buffer.write(lines.encode(screen.charset.encoding))
    sys.stdout.buffer.flush()


def _report_model(options: Options, summary: Summary, rows: int) -> ReportModel:
    """Return what one scan of the source finds."""
    result = scan(options, collector=SummaryCollector(options, summary))
    return ReportModel(
        source=_source_name(options),
        policy=options.policy.name,
        when=datetime.datetime.now().astimezone(),
        summary=summary,
        refused=[verdict for verdict in result.verdicts if verdict.over],
        inboxes=None if options.site is None else result.users,
        reserved=None if options.reserve == Reserve() else result.near,
        problems=options.problems.count,
        rows=rows,
        naming=options.source.naming,
    )


def _source_name(options: Options) -> str:
    host = options.site.servername if options.site is not None else None
    return options.source.name if host is None else f"{options.source.name} on {host}"
