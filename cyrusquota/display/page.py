"""A report as one page: complete in itself, no script, nothing fetched.

The page says so to the browser, too, in a policy that forbids both. It begins with a line by which
it is known as ours, so that no file of somebody else's is ever replaced by it.
"""

from __future__ import annotations

from typing import Iterator, Sequence

from cyrusquota.display.charts import Bars, bars, histogram, meter
from cyrusquota.display.markup import Heading, name, table, text
from cyrusquota.display.report_model import Figure, Overview, Refusal, State
from cyrusquota.display.sizes import figure, part, percent, size
from cyrusquota.display.style import STYLE
from cyrusquota.display.table import shortened
from cyrusquota.quota import Resource, Usage
from cyrusquota.verdicts.summary import DomainUsage, Fullest

_MARK = "<!DOCTYPE html>\n<!-- Written by cyrusquota report; the next run replaces it. -->\n"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
#: How many domains the chart has, and how much of their names.
_CHARTED = 10
_NAME = 26
#: Meters tell apart shares up to this.
_MOST = 2.0


def is_ours(content: bytes) -> bool:
    """Whether a file is a page that `document` made."""
    return content.startswith(_MARK.encode())


def document(overview: Overview) -> str:
    """The whole page."""
    title = "Mail quotas"
    return (
        f"{_MARK}"
        '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{text(_POLICY)}"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        '<meta name="referrer" content="no-referrer"/>\n'
        '<meta name="robots" content="noindex"/>\n'
        f"<title>{title}, {overview.when:%Y-%m-%d %H:%M}</title>\n<style>\n{STYLE}</style>\n"
        "</head>\n<body>\n<main>\n"
        f'<header>\n<h1>{title}</h1>\n<p class="quiet">{text(overview.made())}</p>\n</header>\n'
        + "\n".join(_sections(overview))
        + "\n</main>\n</body>\n</html>\n"
    )


def _sections(overview: Overview) -> Iterator[str]:
    yield _tiles(overview)
    if not overview.summary.roots:
        yield _section("Nothing to show", "<p>The source has no quota roots.</p>")
        return
    yield _distribution(overview)
    yield _domains(overview)
    yield _refused(overview)
    if overview.fullest():
        yield _fullest(overview)
    yield _resources(overview)


def _section(title: str, *content: str) -> str:
    return "\n".join(("<section>", f"<h2>{text(title)}</h2>", *content, "</section>"))


def _quiet(said: str) -> str:
    return f'<p class="quiet">{text(said)}</p>'


def _tiles(overview: Overview) -> str:
    figures = list(overview.totals())
    large = "\n".join(_tile(each) for each in figures if each.is_main)
    small = "\n".join(_tile(each) for each in figures if not each.is_main)
    return f'<dl class="tiles">\n{large}\n</dl>\n<dl class="facts">\n{small}\n</dl>'


def _tile(each: Figure) -> str:
    note = f'\n<dd class="quiet">{text(each.note)}</dd>' if each.note else ""
    return (
        f'<div class="{each.state.value}"><dt>{text(each.label)}</dt>\n'
        f'<dd class="value">{text(each.value)}</dd>{note}</div>'
    )


def _distribution(overview: Overview) -> str:
    steps = list(overview.steps())
    limited = sum(step.count for step in steps)
    said = (
        f"Of {limited} roots with a limit, how many use how much of it, in the resource that they"
        " are fullest in, by tenths."
    )
    rows = [(text(step.label), str(step.count), part(step.count, limited)) for step in steps]
    headings = (Heading("Of the limit", False), Heading("Roots"), Heading("Share"))
    return _section(
        "How full the roots are",
        _quiet(said),
        '<div class="beside">',
        histogram("full", "How full the roots are", said, steps),
        table("Roots by use of their limit", headings, rows),
        "</div>",
    )


_USAGE = (Heading("Use"), Heading("Used"), Heading("Limit"), Heading("Resource", False))


def _usage(kind: Resource, usage: Usage, state: State) -> tuple[str, str, str, str]:
    limit = "-" if usage.limit is None else figure(kind, usage.limit)
    said = f'<span class="{state.value}">{text(percent(usage))}</span>'
    return said, text(figure(kind, usage.used)), text(limit), text(kind.value)


def _refused(overview: Overview) -> str:
    if not overview.refused:
        return _section("Refused mail now", "<p>Nobody.</p>")
    refusals = list(overview.refusals())
    shown = refusals[: overview.rows]
    headings = (Heading("User", False), *_USAGE, Heading("Governed by", False))
    return _section(
        "Refused mail now",
        table("Users and the resources they lack room in", headings, map(_refusal, shown)),
        *_rest(len(refusals) - len(shown), "reasons to refuse mail"),
    )


def _refusal(refusal: Refusal) -> Sequence[str]:
    governed_by = name(refusal.governed_by) if refusal.governed_by else "own root"
    return name(refusal.user), *_usage(refusal.resource, refusal.usage, State.OVER), governed_by


def _rest(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield _quiet(f"and {count} more {what}; --rows shows more")


def _fullest(overview: Overview) -> str:
    fullest = overview.fullest()
    most = max(1.0, min(_MOST, fullest[0].fraction))
    rows = (_full(full, overview.state(full.usage), most) for full in fullest)
    headings = (Heading("Quota root", False), *_USAGE, Heading("Use, limit marked", False))
    return _section(
        f"The fullest {len(fullest)}" if len(fullest) > 1 else "The fullest",
        table("Quota roots and the resource they are fullest in", headings, rows),
    )


def _full(full: Fullest, state: State, most: float) -> Sequence[str]:
    drawn = meter(full.fraction, state, most)
    return name(full.root.name), *_usage(full.resource, full.usage, state), drawn


def _domains(overview: Overview) -> str:
    domains = overview.domains()
    shown = domains[: overview.rows]
    said = "How much storage each domain uses of what its limits promise."
    if len(domains) > _CHARTED:
        said = f"The {_CHARTED} of {len(domains)} domains that use most. {said}"
    chart = bars(
        "domains", "Promised and used", said, [_bars(*each) for each in domains[:_CHARTED]]
    )
    headings = (
        Heading("Domain", False),
        *map(Heading, ("Roots", "No limit", "Over", "Promised", "Used", "Use")),
    )
    return _section(
        "Promised and used, by domain",
        _quiet(said),
        '<p class="quiet legend"><span><span class="key fine"></span>used</span>'
        ' <span><span class="key whole"></span>promised</span></p>',
        f'<div class="bars">{chart}</div>',
        table("Domains; sizes are of STORAGE", headings, (_domain(*each) for each in shown)),
        *_rest(len(domains) - len(shown), "domains"),
    )


def _bars(domain: str, totals: DomainUsage) -> Bars:
    said = f"{size(totals.used)} of {size(totals.limits)}"
    return Bars(shortened(domain, _NAME), totals.limits, totals.used, said)


def _domain(domain: str, totals: DomainUsage) -> Sequence[str]:
    limited = totals.used - totals.used_unlimited
    return (
        name(domain),
        *map(str, (totals.roots, totals.unlimited, totals.over)),
        *map(text, (size(totals.limits), size(totals.used), part(limited, totals.limits))),
    )


def _resources(overview: Overview) -> str:
    headings = (Heading("Resource", False), *map(Heading, ("Roots with a limit", "Near", "Over")))
    rows = [(text(kind.value), *map(str, counts)) for kind, *counts in overview.resources()]
    return _section("By resource", table("Quota roots by resource", headings, rows))
