"""cyrusquota report: what all quotas come to, in a terminal or as a page."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Optional

import click

from cyrusquota import publish
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._counting import Seen
from cyrusquota.cli._mode import mode_bits
from cyrusquota.cli._reading import read
from cyrusquota.cli._share import near_option
from cyrusquota.cli._source import Chosen, source_options
from cyrusquota.cli._terminal import terminal
from cyrusquota.display import page
from cyrusquota.display.overview import Overview
from cyrusquota.display.text import Text
from cyrusquota.errors import CannotCreateMap, printable
from cyrusquota.overquota import Reserve
from cyrusquota.summary import Summary

#: Seconds to wait for another run that writes the same page.
_PATIENCE = 10


@click.command("report")
@source_options
@near_option
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many of the fullest roots to name.",
)
@click.option(
    "--rows",
    metavar="N",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="How many domains and how many reasons to refuse mail to name at most.",
)
@click.option(
    "--html",
    metavar="FILE",
    shell_complete=file_names,
    help="Write a page for browsers instead, with the same as charts, complete in one file; - is"
    " standard output. It names users: see to who can read it.",
)
@click.option(
    "--owner", metavar="USER", help="With --html: owner of the file.  [default: whoever runs this]"
)
@click.option(
    "--group", metavar="GROUP", help="With --html: its group.  [default: as for a new file]"
)
@click.option(
    "--mode",
    metavar="MODE",
    callback=mode_bits,
    default="0640",
    show_default=True,
    help="With --html: its mode, in octal.",
)
def report(
    chosen: Chosen,
    near: float,
    top: int,
    rows: int,
    html: Optional[str],
    owner: Optional[str],
    group: Optional[str],
    mode: int,
) -> None:
    """Print what all quotas come to: totals, how full the roots are, who is refused mail and why.

    Who is refused mail is worked out as cyrusquota-export does it, with the mailboxes of the
    server where they are known. What is promised is the sum of all limits. Where conversations
    totals count, all figures are those.
    """
    if html is not None and html != "-":
        _must_have_a_directory(html)
    overview = _overview(chosen, Summary(chosen.policy, near, top), rows)
    if html is None:
        _print(overview)
        return
    content = page.document(overview).encode()
    if html == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    ownership = publish.Ownership(mode, owner, group)
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
        inboxes=None if chosen.server is None else reading.users,
        reserved=None if chosen.reserve == Reserve() else reading.near,
        problems=chosen.problems.count,
        rows=rows,
        defaultdomain=chosen.source.naming.defaultdomain,
    )


def _named(chosen: Chosen) -> str:
    host = chosen.server.servername if chosen.server is not None else None
    return chosen.source.name if host is None else f"{chosen.source.name} on {host}"
