"""Pieces of a page: text that cannot become markup, elements, tables.

What comes from outside passes through `text` and nothing else, which leaves no character that a
browser would act on. The markup is that of HTML and of XML at once.
"""

from __future__ import annotations

import html
import re
from typing import Iterable, Sequence

import attrs

from cyrusquota.errors import printable


def text(found: str) -> str:
    """`found` for the inside of an element or an attribute's quotes."""
    return html.escape(printable(found))


def name(found: str) -> str:
    """A name as text of its own direction, so that it does not turn its surroundings round.

    Where it has to be broken, it is broken before its domain or a level.
    """
    return f"<bdi>{_LEVEL.sub(_BREAK, text(found))}</bdi>"


_LEVEL = re.compile(r"(?=[@.])|(?<=!)")
_BREAK = "<wbr/>"


@attrs.frozen
class Heading:
    """The title of a column of a table, and whether figures are under it."""

    title: str
    has_figures: bool = True


def table(caption: str, headings: Sequence[Heading], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markup already; the first one of a row names it."""
    kinds = [' class="figure"' if heading.has_figures else "" for heading in headings]
    head = "".join(
        f'<th scope="col"{kind}>{text(heading.title)}</th>'
        for kind, heading in zip(kinds, headings)
    )
    body = "\n".join(_row(kinds, row) for row in rows)
    return (
        f'<div class="wide" role="region" aria-label="{text(caption)}" tabindex="0">\n'
        f"<table>\n<caption>{text(caption)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _row(kinds: Sequence[str], cells: Sequence[str]) -> str:
    parts = [f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, cells)]
    parts[0] = parts[0].replace("<td", '<th scope="row"', 1).replace("</td>", "</th>")
    return f"<tr>{''.join(parts)}</tr>"
