"""cyrusquota list: every quota root of a source, for people and other programs."""

from __future__ import annotations

import sys
from operator import itemgetter
from typing import Callable, Iterable, Iterator, Optional, Union

import attrs
import click

from cyrusquota.cli._command import Command, Example, Heading, under
from cyrusquota.cli._counting import counting
from cyrusquota.cli._listed import Csv, Form, ForPeople, JsonLines, Listed
from cyrusquota.cli._progress import progress
from cyrusquota.cli._share import share_if_any
from cyrusquota.cli._source import Chosen, RawOptions, source_options
from cyrusquota.cli._terminal import Terminal, terminal
from cyrusquota.cli._wanted import Wanted
from cyrusquota.cyrus.names import domain_of
from cyrusquota.display.sizes import Unit
from cyrusquota.parse.value import Prefilter
from cyrusquota.publish.privileges import reading_as
from cyrusquota.quota import QuotaRoot
from cyrusquota.verdicts import selection
from cyrusquota.verdicts.policies import Reserve
from cyrusquota.verdicts.summary import fullest, near_limit

#: Lines that are written at once.
_BATCH = 500

#: What roots are sorted by, least first; of a million of them it has to be small.
Rank = Callable[[Listed], "Union[float, tuple[str, str]]"]
#: More than can be used.
_NEVER = float(1 << 64)


def _by_use(listed: Listed) -> float:
    """Fullest first; whoever has no limit comes after all others, by what he uses."""
    full = fullest(listed.counts)
    return 1 - listed.counts.storage.used / _NEVER if full is None else -full.fraction


def _by_name(listed: Listed) -> tuple[str, str]:
    return domain_of(listed.root.name) or "", listed.root.name


_RANKS: dict[str, Optional[Rank]] = {"source": None, "use": _by_use, "name": _by_name}
_FORMS = ("table", "csv", "jsonl")
_UNITS = tuple(unit.value for unit in Unit)


_shown, _written = under(Heading.ROOTS), under(Heading.WRITTEN)


@click.command(
    "list",
    cls=Command,
    examples=(
        Example(
            "Show the roots that are over quota, the fullest first",
            "cyrusquota list --over --sort use",
        ),
        Example("Show the roots of some users", "cyrusquota list 'j*@example.org'"),
        Example("Give every quota root to another program", "cyrusquota list --format jsonl"),
    ),
)
@source_options
@_shown("--over", is_flag=True, help="Show only roots that are over in some resource.")
@_shown(
    "--near",
    metavar="PERCENT",
    callback=share_if_any,
    help="Show only roots that are over, that use at least this percentage of a limit (90%), or"
    " that have less than --reserve left.",
)
@_shown(
    "--domain",
    metavar="DOMAIN",
    multiple=True,
    help="Show only roots in this domain (repeatable). Names without a domain belong to"
    " defaultdomain, if imapd.conf sets it, and to '' otherwise.",
)
@_written(
    "--sort",
    type=click.Choice(list(_RANKS)),
    default="source",
    show_default=True,
    help="use: the fullest first, in any resource; name: by domain and name; source: in the order"
    " of the source, which needs no memory with csv and jsonl.",
)
@_written(
    "--format",
    "form",
    type=click.Choice(_FORMS),
    default=_FORMS[0],
    show_default=True,
    help="table: for each root the resource that it is over in, or else the fullest; csv: all"
    " resources in bytes, a first line with the names of the columns, empty where unlimited; jsonl:"
    " one JSON object a line for each root, sizes in bytes, limit null where unlimited.",
)
@_written(
    "--unit",
    type=click.Choice(_UNITS, case_sensitive=False),
    metavar=f"[{'|'.join(_UNITS)}]",
    default=Unit.AUTO.value,
    show_default=True,
    help="With table: the unit of sizes.",
)
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
def list_roots(
    raw: RawOptions,
    over: bool,
    near: Optional[float],
    domain: tuple[str, ...],
    sort: str,
    form: str,
    unit: str,
    patterns: tuple[str, ...],
) -> None:
    """List quota roots: all of them, or those that match a PATTERN.

    A PATTERN is a glob such as 'j*', 'j*@example.org' or 'user.j*'. It is matched against the local
    part of the root's user, their address, and the name of the root. Case does not matter.

    `over` means that Cyrus refuses mail for the root, by --policy; `near` that it is nearly full,
    by --near or --reserve. In jsonl, `over` and `near` name the resources. Where Cyrus counts
    conversations totals instead of the usage in the quota database, the table shows the total; csv
    and jsonl show both, the total as `enforced`.

    A table is as wide as the terminal, and in a file or pipe as wide as it needs to be, unless
    COLUMNS is set. It has colours on a terminal, unless NO_COLOR is set. Control characters in
    names are escaped. If there is no root to show, nothing is printed.
    """
    chosen = raw.load()
    wanted = Wanted.of(chosen.source.naming, domain, patterns)
    rank, to = _RANKS[sort], terminal()
    written = _form(form, unit, to)
    # A bar does not go well with what is written at the same time.
    is_streamed = to.is_one and rank is None and form != "table"
    with reading_as(chosen.user):
        judged = _Judged(chosen, wanted, near)
        prefilter = None if rank is None or not over else judged.prefilter()
        listed = judged.roots(prefilter, has_bar=not is_streamed)
        if over:
            listed = (one for one in listed if one.over)
        elif near is not None:
            listed = (one for one in listed if one.over or one.near)
        _write(written.lines(_rows(listed, written, rank)), written.encoding)


def _form(name: str, unit: str, to: Terminal) -> Form:
    if name == "table":
        return ForPeople(to, Unit(unit))
    return Csv(to.is_one) if name == "csv" else JsonLines()


def _rows(listed: Iterable[Listed], form: Form, rank: Optional[Rank]) -> Iterator[str]:
    if rank is None:
        return map(form.row, listed)
    # What is kept of a root is no more than its line and what it is sorted by.
    ranked = [(rank(one), form.row(one)) for one in listed]
    # Of two that are as full, the line decides, so that the order is the same each time.
    ranked.sort(key=itemgetter(0, 1))
    return (row for _, row in ranked)


@attrs.frozen
class _Judged:
    """The roots of a source that are wanted, with what is to be said of each."""

    chosen: Chosen
    wanted: Wanted
    near: Optional[float]

    def prefilter(self) -> Optional[Prefilter]:
        """Lets those through that are over, in less time; None where totals may count instead."""
        site = self.chosen.site
        if site is not None and site.uses_totals:
            return None
        return selection.prefilter(self.chosen.policy, Reserve())

    def roots(self, prefilter: Optional[Prefilter], *, has_bar: bool) -> Iterator[Listed]:
        """Every root by whose name it is wanted; without `prefilter` in the order of the source."""
        roots = self.chosen.source.counted(prefilter, self.chosen.problems)
        for root in progress(roots, lambda: roots.count) if has_bar else roots:
            if self.wanted.has(root.name):
                yield self._listed(root)

    def _listed(self, root: QuotaRoot) -> Listed:
        counts = counting(root, self.chosen, self.chosen.problems)
        over = self.chosen.policy.over(counts)
        near = self.chosen.reserve.near(counts)
        if self.near is not None:
            reached = near_limit(counts, self.chosen.policy, self.near)
            near = tuple(
                kind
                for kind, _ in counts.usages()
                if kind in near or (kind in reached and kind not in over)
            )
        return Listed(root, counts, over, near)


def _write(lines: Iterable[str], encoding: str) -> None:
    """Write `lines`, many at once; whatever was not UTF-8 becomes what it was."""
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            _put("".join(batch), encoding)
            batch.clear()
    _put("".join(batch), encoding)


def _put(text: str, encoding: str) -> None:
    sys.stdout.buffer.write(text.encode(encoding, "surrogateescape"))
    sys.stdout.buffer.flush()
