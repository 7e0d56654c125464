"""cyrusquota report: summarise all quotas, in a terminal or as a page."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Optional

import click

from cyrusquota import publish
from cyrusquota.cli._command import Command, Example, Heading, under
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._counting import Seen
from cyrusquota.cli._ownership import ownership_options
from cyrusquota.cli._reading import read
from cyrusquota.cli._share import near_option
from cyrusquota.cli._source import Chosen, RawOptions, source_options
from cyrusquota.cli._terminal import terminal
from cyrusquota.display import page
from cyrusquota.display.report_model import Overview
from cyrusquota.display.text import Text
from cyrusquota.errors import CannotCreateMap, printable
from cyrusquota.verdicts.policies import Reserve
from cyrusquota.verdicts.summary import Summary

#: Lines that a list may have.
_MOST = 1_000_000
#: Seconds to wait for another run that writes the same page.
_PATIENCE = 10


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
    type=click.IntRange(0, _MOST),
    default=20,
    show_default=True,
    help="How many of the fullest roots to list.",
)
@_shown(
    "--rows",
    metavar="N",
    type=click.IntRange(0, _MOST),
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
@ownership_options("the page", "0640")
def report(
    raw: RawOptions,
    near: float,
    top: int,
    rows: int,
    html: Optional[str],
    ownership: publish.Ownership,
) -> None:
    """Summarise all quotas, in a terminal or as a page for browsers.

    Show totals, how full the roots are, whose mail is refused, and why. The users whose mail is
    refused are those that cyrusquota-export lists. Where Cyrus counts conversations totals instead
    of the usage in the quota database, all figures are those totals.
    """
    if html is not None and html != "-":
        _must_have_a_directory(html)
    chosen = raw.load()
    overview = _overview(chosen, Summary(chosen.policy, near, top), rows)
    if html is None:
        _print(overview)
        return
    content = page.document(overview).encode()
    if html == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    publish.publish(html, content, ownership, is_ours=page.is_ours, wait=_PATIENCE)


def _must_have_a_directory(path: str) -> None:
    """Raise before anything is read: that may take a while."""
    parent = Path(path).parent
    if not parent.is_dir():
        where, directory = printable(path), printable(str(parent))
        raise CannotCreateMap(
            f"--html {where}: the directory {directory} does not exist; make it first, or name a"
            " file in another"
        )


def _print(overview: Overview) -> None:
    to = terminal()
    text = Text(to.room, to.charset, to.coloured)
    lines = "".join(f"{line}\n" for line in text.lines(overview))
    sys.stdout.buffer.write(lines.encode(to.charset.encoding))
    sys.stdout.buffer.flush()


def _overview(chosen: Chosen, summary: Summary, rows: int) -> Overview:
    """What one reading of the source finds."""
    reading = read(chosen, see=Seen(chosen, summary))
    return Overview(
        source=_named(chosen),
        policy=chosen.policy.name,
        when=datetime.datetime.now().astimezone(),
        summary=summary,
        refused=[verdict for verdict in reading.verdicts if verdict.over],
        inboxes=None if chosen.site is None else reading.users,
        reserved=None if chosen.reserve == Reserve() else reading.near,
        problems=chosen.problems.count,
        rows=rows,
        defaultdomain=chosen.source.naming.defaultdomain,
    )


def _named(chosen: Chosen) -> str:
    host = chosen.site.servername if chosen.site is not None else None
    return chosen.source.name if host is None else f"{chosen.source.name} on {host}"
