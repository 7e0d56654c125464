"""A report as one HTML page, without scripts, which loads nothing else.

A content security policy in the page forbids both. Its first lines identify it, so that the report
replaces no other file. All text from outside goes through `escaped`; the markup is valid HTML and
XML. Positions in charts are percentages and heights are pixels, so a chart takes the width of its
surroundings and its letters keep their size.
"""

from __future__ import annotations

import html
import re
from typing import Iterable, Iterator, Sequence

import attrs

from cyrusquota.display.report_model import (
    Level,
    Refusal,
    ReportModel,
    Step,
    TotalLine,
    user_or_root,
)
from cyrusquota.display.sizes import figure, part, percent, size
from cyrusquota.display.style import STYLE
from cyrusquota.display.table import shortened
from cyrusquota.errors import printable
from cyrusquota.quota import Resource, Usage
from cyrusquota.verdicts.summary import DomainUsage, Fullest

_MARK = "<!DOCTYPE html>\n<!-- Written by cyrusquota report; the next run replaces it. -->\n"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
#: How many domains are in the chart, and the length of their names.
_CHARTED = 10
_NAME = 26
#: Meters are full at this share.
_MOST = 2.0
#: Pixels: height of the columns of a histogram, space above and below, height of a row of bars.
_HEIGHT = 260
_ABOVE = 20
_BELOW = 26
_ROW = 44
_BAR = 12
#: The smallest visible height.
_VISIBLE = 2
#: The smallest visible bar, in percent of the width.
_LEAST = 0.25
#: The part of its place that a column fills.
_FILLED = 0.78
_MANY = 10_000


@attrs.frozen
class HtmlColumn:
    """A column of a table: its title, and whether it has figures."""

    title: str
    has_figures: bool = True


def is_ours(content: bytes) -> bool:
    """Return whether a file was written by `document`."""
    return content.startswith(_MARK.encode())


def document(report: ReportModel) -> str:
    """Return the whole page."""
    title = "Mail quotas"
    return (
        f"{_MARK}"
        '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escaped(_POLICY)}"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        '<meta name="referrer" content="no-referrer"/>\n'
        '<meta name="robots" content="noindex"/>\n'
        f"<title>{title}, {report.when:%Y-%m-%d %H:%M}</title>\n<style>\n{STYLE}</style>\n"
        "</head>\n<body>\n<main>\n"
        f'<header>\n<h1>{title}</h1>\n<p class="quiet">{escaped(report.made())}</p>\n</header>\n'
        + "\n".join(_sections(report))
        + "\n</main>\n</body>\n</html>\n"
    )


def _sections(report: ReportModel) -> Iterator[str]:
    yield _tiles(report)
    if not report.summary.roots:
        yield _section("Nothing to show", "<p>The source has no quota roots.</p>")
        return
    yield _distribution(report)
    yield _domains(report)
    yield _refused(report)
    if report.fullest():
        yield _fullest(report)
    yield _resources(report)


def _section(title: str, *content: str) -> str:
    return "\n".join(("<section>", f"<h2>{escaped(title)}</h2>", *content, "</section>"))


def _quiet(said: str) -> str:
    return f'<p class="quiet">{escaped(said)}</p>'


def _tiles(report: ReportModel) -> str:
    figures = list(report.totals())
    large = "\n".join(_tile(each) for each in figures if each.is_main)
    small = "\n".join(_tile(each) for each in figures if not each.is_main)
    return f'<dl class="tiles">\n{large}\n</dl>\n<dl class="facts">\n{small}\n</dl>'


def _tile(each: TotalLine) -> str:
    note = f'\n<dd class="quiet">{escaped(each.note)}</dd>' if each.note else ""
    return (
        f'<div class="{each.state.value}"><dt>{escaped(each.label)}</dt>\n'
        f'<dd class="value">{escaped(each.value)}</dd>{note}</div>'
    )


def _distribution(report: ReportModel) -> str:
    steps = list(report.steps())
    limited = sum(step.count for step in steps)
    said = (
        f"The {limited} roots with a limit, by the percentage in use of the resource that is"
        " fullest."
    )
    rows = [(escaped(step.label), str(step.count), part(step.count, limited)) for step in steps]
    headings = (HtmlColumn("Of the limit", False), HtmlColumn("Roots"), HtmlColumn("Share"))
    return _section(
        "How full the roots are",
        _quiet(said),
        '<div class="beside">',
        histogram("full", "How full the roots are", said, steps),
        html_table("Roots by use of their limit", headings, rows),
        "</div>",
    )


_USAGE = (HtmlColumn("Use"), HtmlColumn("Used"), HtmlColumn("Limit"), HtmlColumn("Resource", False))


def _usage(kind: Resource, usage: Usage, state: Level) -> tuple[str, str, str, str]:
    limit = "-" if usage.limit is None else figure(kind, usage.limit)
    said = f'<span class="{state.value}">{escaped(percent(usage))}</span>'
    return said, escaped(figure(kind, usage.used)), escaped(limit), escaped(kind.value)


def _refused(report: ReportModel) -> str:
    if not report.refused:
        return _section("Refused mail now", "<p>Nobody.</p>")
    refused_users = list(report.refused_users())
    shown = refused_users[: report.rows]
    headings = (HtmlColumn("User", False), *_USAGE, HtmlColumn("Governed by", False))
    return _section(
        "Refused mail now",
        html_table(
            "Users and the resources that are over their limits", headings, map(_refusal, shown)
        ),
        *_rest(len(refused_users) - len(shown), "reasons to refuse mail"),
    )


def _refusal(refusal: Refusal) -> Sequence[str]:
    governed_by = isolated(refusal.governed_by) if refusal.governed_by else "own root"
    return isolated(refusal.user), *_usage(refusal.resource, refusal.usage, Level.OVER), governed_by


def _rest(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield _quiet(f"and {count} more {what}; --rows shows more")


def _fullest(report: ReportModel) -> str:
    fullest = report.fullest()
    most = max(1.0, min(_MOST, fullest[0].fraction))
    rows = (_full(full, report, most) for full in fullest)
    headings = (
        HtmlColumn("User or quota root", False),
        *_USAGE,
        HtmlColumn("Use, limit marked", False),
    )
    return _section(
        f"The fullest {len(fullest)}" if len(fullest) > 1 else "The fullest",
        html_table("Quota roots and the resource they are fullest in", headings, rows),
    )


def _full(full: Fullest, report: ReportModel, most: float) -> Sequence[str]:
    state = report.state(full.usage)
    drawn = meter(full.fraction, state, most)
    name = user_or_root(full.root.name, report.naming)
    return isolated(name), *_usage(full.resource, full.usage, state), drawn


def _domains(report: ReportModel) -> str:
    domains = report.domains()
    shown = domains[: report.rows]
    said = "Used storage, and the sum of the limits, for each domain."
    if len(domains) > _CHARTED:
        said = f"The {_CHARTED} largest of {len(domains)} domains. {said}"
    chart = bar_chart(
        "domains", "Limits and use", said, [_bar_row(*each) for each in domains[:_CHARTED]]
    )
    headings = (
        HtmlColumn("Domain", False),
        *map(HtmlColumn, ("Roots", "No limit", "Over", "Limits", "Used", "Use")),
    )
    return _section(
        "Limits and use, by domain",
        _quiet(said),
        '<p class="quiet legend"><span><span class="key fine"></span>used</span>'
        ' <span><span class="key whole"></span>limits</span></p>',
        f'<div class="bars">{chart}</div>',
        html_table("Domains; sizes are STORAGE", headings, (_domain(*each) for each in shown)),
        *_rest(len(domains) - len(shown), "domains"),
    )


def _bar_row(domain: str, totals: DomainUsage) -> BarRow:
    said = f"{size(totals.used)} of {size(totals.limits)}"
    return BarRow(shortened(domain, _NAME), totals.limits, totals.used, said)


def _domain(domain: str, totals: DomainUsage) -> Sequence[str]:
    limited = totals.used - totals.used_unlimited
    return (
        isolated(domain),
        *map(str, (totals.roots, totals.unlimited, totals.over)),
        *map(escaped, (size(totals.limits), size(totals.used), part(limited, totals.limits))),
    )


def _resources(report: ReportModel) -> str:
    headings = (
        HtmlColumn("Resource", False),
        *map(HtmlColumn, ("Roots with a limit", "Near", "Over")),
    )
    rows = [(escaped(kind.value), *map(str, counts)) for kind, *counts in report.resources()]
    return _section("By resource", html_table("Quota roots by resource", headings, rows))


# --- charts, as SVG ---


@attrs.frozen
class BarRow:
    """A row of a bar chart: its whole, the filled part, and both as text."""

    label: str
    whole: int
    filled: int
    said: str


def histogram(key: str, title: str, description: str, steps: Sequence[Step]) -> str:
    """Return a chart of columns side by side, each with its count above."""
    most = max((step.count for step in steps), default=0) or 1
    place = 100 / max(1, len(steps))
    foot = _ABOVE + _HEIGHT
    parts = [f'<line class="axis" x1="0" x2="100%" y1="{foot}" y2="{foot}"/>']
    for at, step in enumerate(steps):
        height = max(_VISIBLE, _HEIGHT * step.count / most) if step.count else 0
        left, middle = place * (at + (1 - _FILLED) / 2), place * (at + 0.5)
        parts.append(
            f'<rect class="{step.state.value}" x="{left:.2f}%" y="{foot - height:.1f}"'
            f' width="{place * _FILLED:.2f}%" height="{height:.1f}" rx="2">'
            f"<title>{escaped(step.label)}: {step.count}</title></rect>"
            f'<text class="count" x="{middle:.2f}%" y="{foot - height - 6:.1f}"'
            f' text-anchor="middle">{_short(step.count)}</text>'
        )
        # The label marks where the step begins: its left edge, for the first one that of the chart.
        spot, anchor = place * at, "middle" if at else "start"
        if step.state is Level.OVER:
            spot, anchor = middle, "middle"
        kind = "label" if at % 2 == 0 else "label odd"
        parts.append(
            f'<text class="{kind}" x="{spot:.2f}%" y="{foot + 17}" text-anchor="{anchor}">'
            f"{escaped(step.begin)}</text>"
        )
    return _image(key, title, description, foot + _BELOW, parts)


def bar_chart(key: str, title: str, description: str, rows: Sequence[BarRow]) -> str:
    """Return a chart of bars one below the other, each with its label and text above."""
    most = max((max(row.whole, row.filled) for row in rows), default=0) or 1
    parts = []
    for at, row in enumerate(rows):
        top, label, said = at * _ROW, escaped(row.label), escaped(row.said)
        parts.append(
            f'<text class="label" x="0" y="{top + 14}">{label}</text>'
            f'<text class="count" x="100%" y="{top + 14}" text-anchor="end">{said}</text>'
            f'<rect class="whole" x="0" y="{top + 21}" width="{100 * row.whole / most:.2f}%"'
            f' height="{_BAR}" rx="3"/>'
            f'<rect class="fine" x="0" y="{top + 21}" width="{_filled(row, most):.2f}%"'
            f' height="{_BAR}" rx="3"><title>{label}: {said}</title></rect>'
        )
    return _image(key, title, description, len(rows) * _ROW, parts)


def _filled(row: BarRow, most: int) -> float:
    """Return the percent of the width; anything above 0 is visible."""
    return max(_LEAST, 100 * row.filled / most) if row.filled else 0


def meter(share: float, state: Level, most: float) -> str:
    """Return a small bar for a table: a share up to `most`, with a mark at the limit."""
    limit = 100 / most
    filled = 100 * min(most, max(0.0, share)) / most
    return (
        '<svg class="meter" aria-hidden="true" width="100%" height="12">'
        f'<rect class="whole" y="2" width="{limit:.1f}%" height="8" rx="2"/>'
        f'<rect class="{state.value}" y="2" width="{filled:.1f}%" height="8" rx="2"/>'
        f'<line class="limit" x1="{limit:.1f}%" x2="{limit:.1f}%" y1="0" y2="12"/></svg>'
    )


def _image(key: str, title: str, description: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" role="img" aria-labelledby="{key}-title {key}-text"'
        f' width="100%" height="{height}">\n'
        f'<title id="{key}-title">{escaped(title)}</title>\n'
        f'<desc id="{key}-text">{escaped(description)}</desc>\n' + "\n".join(parts) + "\n</svg>"
    )


def _short(count: int) -> str:
    """Return a count in at most four characters."""
    if count < _MANY:
        return str(count)
    return f"{count // 1000}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


# --- markup ---


def escaped(found: str) -> str:
    """Return `found` for the inside of an element or of a quoted attribute."""
    return html.escape(printable(found))


def isolated(found: str) -> str:
    """Return a name as text with its own direction, so that it does not affect its surroundings.

    A long name may be broken before its domain or before a level.
    """
    return f"<bdi>{_LEVEL.sub(_BREAK, escaped(found))}</bdi>"


_LEVEL = re.compile(r"(?=[@.])|(?<=!)")
_BREAK = "<wbr/>"


def html_table(caption: str, headings: Sequence[HtmlColumn], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are markup already, and the first one is the heading of its row."""
    kinds = [' class="figure"' if heading.has_figures else "" for heading in headings]
    head = "".join(
        f'<th scope="col"{kind}>{escaped(heading.title)}</th>'
        for kind, heading in zip(kinds, headings)
    )
    body = "\n".join(_row(kinds, row) for row in rows)
    return (
        f'<div class="wide" role="region" aria-label="{escaped(caption)}" tabindex="0">\n'
        f"<table>\n<caption>{escaped(caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _row(kinds: Sequence[str], cells: Sequence[str]) -> str:
    parts = [f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, cells)]
    parts[0] = parts[0].replace("<td", '<th scope="row"', 1).replace("</td>", "</th>")
    return f"<tr>{''.join(parts)}</tr>"
