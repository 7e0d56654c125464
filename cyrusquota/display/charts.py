"""Charts of a page, as SVG in it.

Positions are percentages and heights are pixels, so a chart is as wide as its surroundings while
its letters keep their size. Colours come from the style of the page. A chart is one image to those
who cannot see it, with a title and a description; the figures are in a table beside it.
"""

from __future__ import annotations

from typing import Sequence

import attrs

from cyrusquota.display.markup import text
from cyrusquota.display.report_model import State, Step

#: Pixels: of the columns of a histogram, of what is above and below them, of a row of bars.
_HEIGHT = 260
_ABOVE = 20
_BELOW = 26
_ROW = 44
_BAR = 12
#: The least that something which is not nothing takes.
_VISIBLE = 2
#: The same of a bar, in percent of the width.
_LEAST = 0.25
#: How much of its place a column fills.
_FILLED = 0.78
_MANY = 10_000


@attrs.frozen
class Bars:
    """A row of a bar chart: its whole, the part of it that is filled, and both in words."""

    label: str
    whole: int
    filled: int
    said: str


def histogram(key: str, title: str, description: str, steps: Sequence[Step]) -> str:
    """Columns side by side, each with its count above it."""
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
            f"<title>{text(step.label)}: {step.count}</title></rect>"
            f'<text class="count" x="{middle:.2f}%" y="{foot - height - 6:.1f}"'
            f' text-anchor="middle">{_short(step.count)}</text>'
        )
        # Where it begins stands at its left edge, which for the first one is that of the chart.
        spot, anchor = place * at, "middle" if at else "start"
        if step.state is State.OVER:
            spot, anchor = middle, "middle"
        kind = "label" if at % 2 == 0 else "label odd"
        parts.append(
            f'<text class="{kind}" x="{spot:.2f}%" y="{foot + 17}" text-anchor="{anchor}">'
            f"{text(step.begin)}</text>"
        )
    return _image(key, title, description, foot + _BELOW, parts)


def bars(key: str, title: str, description: str, rows: Sequence[Bars]) -> str:
    """Bars one below the other, each with its label and what it says above it."""
    most = max((max(row.whole, row.filled) for row in rows), default=0) or 1
    parts = []
    for at, row in enumerate(rows):
        top = at * _ROW
        parts.append(
            f'<text class="label" x="0" y="{top + 14}">{text(row.label)}</text>'
            f'<text class="count" x="100%" y="{top + 14}" text-anchor="end">{text(row.said)}</text>'
            f'<rect class="whole" x="0" y="{top + 21}" width="{100 * row.whole / most:.2f}%"'
            f' height="{_BAR}" rx="3"/>'
            f'<rect class="fine" x="0" y="{top + 21}" width="{_filled(row, most):.2f}%"'
            f' height="{_BAR}" rx="3"><title>{text(row.label)}: {text(row.said)}</title></rect>'
        )
    return _image(key, title, description, len(rows) * _ROW, parts)


def _filled(row: Bars, most: int) -> float:
    """Percent of the width; whatever is not nothing shows."""
    return max(_LEAST, 100 * row.filled / most) if row.filled else 0


def meter(share: float, state: State, most: float) -> str:
    """A small bar inside a table for a share up to `most`, with a mark where the limit is."""
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
        f'<title id="{key}-title">{text(title)}</title>\n'
        f'<desc id="{key}-text">{text(description)}</desc>\n' + "\n".join(parts) + "\n</svg>"
    )


def _short(count: int) -> str:
    """A count that leaves room for its neighbours."""
    if count < _MANY:
        return str(count)
    return f"{count // 1000}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"
