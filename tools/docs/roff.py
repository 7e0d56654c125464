"""Format text for roff's man macros."""

from __future__ import annotations

import re
import textwrap

#: Of the lines of the source: mandoc warns about longer ones.
_WIDTH = 76
#: Program text between backticks; a placeholder in capitals.
_CODE = re.compile(r"`([^`]*)`")
_NAME = re.compile(r"(?<![\w-])--?[A-Za-z][a-z-]*")


def text(plain: str) -> list[str]:
    """Return `plain` as lines of text, with what stands in backticks in bold."""
    parts = _CODE.split(plain)
    line = "".join(
        f"\\fB{escaped(part)}\\fP" if number % 2 else escaped(part)
        for number, part in enumerate(parts)
    )
    return wrapped(line)


def wrapped(line: str) -> list[str]:
    """Wrap a line of roff."""
    lines = textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_not_a_request(line) for line in lines]


def option(spelling: str) -> str:
    """Format `-o, --output FILE`: the names bold, the rest in italics."""
    parts: list[str] = []
    at = 0
    for match in _NAME.finditer(spelling):
        parts += [_italic(spelling[at : match.start()]), f"\\fB{escaped(match[0])}\\fP"]
        at = match.end()
    return "".join([*parts, _italic(spelling[at:])])


def escaped(plain: str) -> str:
    """Escape every character that means something to roff."""
    line = plain.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return line.replace("`", "\\(ga").replace("~", "\\(ti").replace("^", "\\(ha")


def _italic(plain: str) -> str:
    if plain in ("", ", ", " "):
        return plain
    blank = " " if plain.startswith(" ") else ""
    return f"{blank}\\fI{escaped(plain.strip())}\\fP"


def _not_a_request(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line
