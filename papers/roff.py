"""Text as roff's man macros want it."""

from __future__ import annotations

import re
import textwrap

#: Of the source, which mandoc likes short.
_WIDTH = 76
#: Program text between backticks; a placeholder in capitals.
_CODE = re.compile(r"`([^`]*)`")
_NAME = re.compile(r"(?<![\w-])--?[A-Za-z][a-z-]*")


def text(plain: str) -> list[str]:
    """`plain` as lines of running text; what stands in backticks becomes bold."""
    parts = _CODE.split(plain)
    line = "".join(
        f"\\fB{escaped(part)}\\fP" if number % 2 else escaped(part)
        for number, part in enumerate(parts)
    )
    return wrapped(line)


def wrapped(line: str) -> list[str]:
    """A line of roff as several that are not too long."""
    lines = textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_not_a_request(line) for line in lines]


def option(spelling: str) -> str:
    """`-o, --output FILE`: the names bold, the rest in italics."""
    parts: list[str] = []
    at = 0
    for match in _NAME.finditer(spelling):
        parts += [_italic(spelling[at : match.start()]), f"\\fB{escaped(match[0])}\\fP"]
        at = match.end()
    return "".join([*parts, _italic(spelling[at:])])


def escaped(plain: str) -> str:
    """`plain` with everything escaped that roff would take for its own."""
    line = plain.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return line.replace("`", "\\(ga").replace("~", "\\(ti").replace("^", "\\(ha")


def _italic(plain: str) -> str:
    if plain in ("", ", ", " "):
        return plain
    blank = " " if plain.startswith(" ") else ""
    return f"{blank}\\fI{escaped(plain.strip())}\\fP"


def _not_a_request(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line
