"""Standard output: whether it is a terminal, how wide, which characters and colours it shows."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Optional

import attrs
import click

from cyrusquota.display.table import Charset


@attrs.frozen
class Terminal:
    """How to write to standard output.

    `width` is in columns, and None where lines may have any length: in a file or a pipe names are
    not cut.
    """

    is_terminal: bool = False
    width: Optional[int] = None
    has_colours: bool = False
    charset: Charset = attrs.field(factory=Charset)

    def coloured(self, text: str, colour: Optional[str]) -> str:
        """Return `text` in `colour` where there are colours."""
        return click.style(text, fg=colour) if self.has_colours and colour else text


def terminal() -> Terminal:
    """Return how to write to standard output."""
    is_terminal = sys.stdout.isatty()
    # COLUMNS counts in a pipe, too.
    has_width = is_terminal or os.environ.get("COLUMNS", "").isdigit()
    can_colour = os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
    return Terminal(
        is_terminal,
        width=shutil.get_terminal_size().columns if has_width else None,
        has_colours=is_terminal and can_colour,
        charset=Charset(sys.stdout.encoding or "ascii"),
    )
