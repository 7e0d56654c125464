"""A report for a terminal: totals, a histogram and tables, with lines of limited width."""

from __future__ import annotations

import textwrap
from itertools import islice
from typing import Callable, Iterable, Iterator, Optional, Sequence

import attrs

from cyrusquota.cyrus.names import Naming
from cyrusquota.display.report_model import Level, Refusal, ReportModel, user_or_root
from cyrusquota.display.sizes import figure, part, percent, size
from cyrusquota.display.table import GAP, Charset, Column, Table, joined, shortened, width
from cyrusquota.quota import Resource, Usage
from cyrusquota.verdicts.summary import DomainUsage, Fullest

#: The largest width of a histogram.
_USUAL = 80
#: The length to which the name of a root is shortened before a user's.
_NAME = 30
#: The smallest width of notes.
_NARROW = 16
_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"
_PLAIN = "#"

_COLOURS = {Level.OVER: "red", Level.NEAR: "yellow"}

_USAGE = (
    Column("USE"),
    Column("USED"),
    Column("LIMIT"),
    Column("RESOURCE", to_right=False, spare=True),
)


@attrs.frozen
class Text:
    """Formats a report as lines of at most `room` columns; None is no limit.

    `coloured` gets a text and the name of a colour.
    """

    room: Optional[int] = None
    charset: Charset = attrs.field(factory=Charset)
    coloured: Callable[[str, str], str] = lambda text, colour: text

    def lines(self, report: ReportModel) -> Iterator[str]:
        """Return the report as lines."""
        yield from self._wrapped(report.made())
        yield ""
        yield from self._totals(report)
        if not report.summary.roots:
            return
        yield from self._titled("How full the roots are", self._histogram(report))
        yield from self._titled("By resource", self._resources(report))
        domains = report.domains()
        if len(domains) > 1:
            rows = list(map(self._domain, domains[: report.rows]))
            yield from self._titled("By domain", self._table(_DOMAINS, rows))
            yield from self._rest(len(domains) - len(rows), "domains")
        fullest = [self._full(full, report.naming) for full in report.fullest()]
        if fullest:
            title = f"The fullest {len(fullest)}" if len(fullest) > 1 else "The fullest"
            yield from self._titled(title, self._table((*_USAGE, _ROOT), fullest))
        yield from self._refused(report)

    def _titled(self, title: str, lines: Iterable[str]) -> Iterator[str]:
        yield ""
        yield self.coloured(self._cut(title), "cyan")
        yield from lines

    def _cut(self, text: str) -> str:
        shown = self.charset.safe(text)
        return shown if self.room is None else shortened(shown, self.room, self.charset.ellipsis)

    def _table(self, columns: Sequence[Column], rows: Sequence[str]) -> Iterator[str]:
        return Table(columns, self.charset).lines(rows, self.room)

    def _rest(self, count: int, what: str) -> Iterator[str]:
        if count > 0:
            yield self._cut(f"and {count} more {what}: see --rows")

    def _totals(self, report: ReportModel) -> Iterator[str]:
        figures = list(report.totals())
        labels = max(width(figure.label) for figure in figures)
        values = max(width(figure.value) for figure in figures)
        for each in figures:
            begin = GAP.join((each.label.ljust(labels), each.value.rjust(values)))
            yield from self._noted(begin, each.note)

    def _noted(self, begin: str, note: str) -> Iterator[str]:
        """Return `begin` and `note`, on more lines if necessary; no note if it is too narrow."""
        indent = width(begin) + len(GAP)
        if self.room is not None and self.room - indent < _NARROW:
            yield self._cut(begin)
            return
        lines = self._wrapped(note, indent)
        yield GAP.join((begin, *lines[:1]))
        yield from (" " * indent + line for line in lines[1:])

    def _wrapped(self, text: str, indent: int = 0) -> list[str]:
        shown = self.charset.safe(text)
        if self.room is None:
            return [shown] if shown else []
        lines = textwrap.wrap(shown, max(1, self.room - indent))
        return [shortened(line, self.room - indent, self.charset.ellipsis) for line in lines]

    def _histogram(self, report: ReportModel) -> Iterator[str]:
        steps = list(report.steps())
        most = max(step.count for step in steps) or 1
        labels = max(len(step.label) for step in steps)
        counts = len(str(most))
        room = min(_USUAL, self.room or _USUAL) - labels - counts - 2 * len(GAP)
        for step in steps:
            cells = (step.label.rjust(labels), str(step.count).rjust(counts))
            drawn = bar(step.count / most, room, self.charset)
            line = self._narrow(GAP.join((*cells, drawn)).rstrip())
            colour = _COLOURS.get(step.state)
            yield self.coloured(line, colour) if colour else line

    def _narrow(self, line: str) -> str:
        return line if self.room is None else shortened(line, self.room, self.charset.ellipsis)

    def _resources(self, report: ReportModel) -> Iterator[str]:
        rows = [
            joined((str(roots), str(near), str(over), kind.value))
            for kind, roots, near, over in report.resources()
        ]
        return self._table(_RESOURCES, rows)

    def _domain(self, named: tuple[str, DomainUsage]) -> str:
        name, totals = named
        return joined(
            (
                str(totals.roots),
                str(totals.unlimited),
                str(totals.over),
                size(totals.limits),
                size(totals.used),
                part(totals.used - totals.used_unlimited, totals.limits),
                self.charset.safe(name),
            )
        )

    def _full(self, full: Fullest, naming: Naming) -> str:
        name = self.charset.safe(user_or_root(full.root.name, naming))
        return joined((*_usage(full.resource, full.usage), name))

    def _refused(self, report: ReportModel) -> Iterator[str]:
        if not report.refused:
            yield from self._titled("Nobody is refused mail now", ())
            return
        refused_users = report.refused_users()
        rows = list(map(self._refusal, islice(refused_users, report.rows)))
        columns = (*_USAGE, Column("ROOT", to_right=False, spare=True), _USER)
        yield from self._titled("Refused mail now", self._table(columns, rows))
        yield from self._rest(sum(1 for _ in refused_users), "reasons to refuse mail")

    def _refusal(self, refusal: Refusal) -> str:
        governed_by = self.charset.safe(refusal.governed_by)
        if self.room is not None:
            governed_by = shortened(governed_by, _NAME, self.charset.ellipsis)
        user = self.charset.safe(refusal.user)
        return joined((*_usage(refusal.resource, refusal.usage), governed_by or "own", user))


def bar(share: float, room: int, charset: Charset) -> str:
    """Return a bar for `share` (0 to 1) of `room` columns; anything above 0 is visible."""
    if share <= 0 or room < 1:
        return ""
    if not charset.has(_EIGHTHS):
        return _PLAIN * max(1, round(share * room))
    whole, eighth = divmod(max(1, round(share * room * 8)), 8)
    return _EIGHTHS[8] * whole + (_EIGHTHS[eighth] if eighth else "")


def _usage(kind: Resource, usage: Usage) -> tuple[str, str, str, str]:
    limit = "-" if usage.limit is None else figure(kind, usage.limit)
    return percent(usage), figure(kind, usage.used), limit, kind.value


_ROOT = Column("USER OR ROOT", to_right=False)
_USER = Column("USER", to_right=False)
_RESOURCES = (
    Column("ROOTS"),
    Column("NEAR"),
    Column("OVER"),
    Column("RESOURCE", to_right=False),
)
_DOMAINS = (
    Column("ROOTS"),
    Column("NO LIMIT", spare=True),
    Column("OVER"),
    Column("LIMITS", spare=True),
    Column("USED"),
    Column("USE", spare=True),
    Column("DOMAIN", to_right=False),
)
