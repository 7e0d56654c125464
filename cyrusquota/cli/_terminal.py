"""What standard output is: a terminal or not, how wide, what it can show, whether in colour."""

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
    """How to write for whoever reads standard output.

    `room` is the width in columns, None where lines may be as long as they get: in a file or a pipe
    names stay whole.
    """

    is_one: bool = False
    room: Optional[int] = None
    has_colours: bool = False
    charset: Charset = attrs.field(factory=Charset)

    def coloured(self, text: str, colour: Optional[str]) -> str:
        """`text` in `colour` where there are colours."""
        return click.style(text, fg=colour) if self.has_colours and colour else text


def terminal() -> Terminal:
    """What standard output is."""
    is_one = sys.stdout.isatty()
    # Whoever sets COLUMNS wants it to count in a pipe, too.
    asked = os.environ.get("COLUMNS", "").isdigit()
    return Terminal(
        is_one,
        room=shutil.get_terminal_size().columns if is_one or asked else None,
        has_colours=is_one and not os.environ.get("NO_COLOR") and _can_colour(),
        charset=Charset(sys.stdout.encoding or "ascii"),
    )


def _can_colour() -> bool:
    return os.environ.get("TERM", "dumb") != "dumb"
