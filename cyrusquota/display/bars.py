"""Bars for a terminal, to an eighth of a column where there are signs for that."""

from __future__ import annotations

from cyrusquota.display.table import Charset

_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"
_PLAIN = "#"


def bar(share: float, room: int, charset: Charset) -> str:
    """A bar for `share` of `room` columns, 0 to 1; whatever is not nothing shows."""
    if share <= 0 or room < 1:
        return ""
    if not charset.has(_EIGHTHS):
        return _PLAIN * max(1, round(share * room))
    whole, eighth = divmod(max(1, round(share * room * 8)), 8)
    return _EIGHTHS[8] * whole + (_EIGHTHS[eighth] if eighth else "")
