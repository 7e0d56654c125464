"""Write and read Exim's lsearch files: `KEY: VALUE` lines; the first match wins, ignoring case.

The grammar is that of Exim's src/lookups/lsearch.c, the same from 4.54 to today.
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, Optional

from cyrusquota.errors import printable
from cyrusquota.maps._entry import Entry, Row
from cyrusquota.maps.header import is_header
from cyrusquota.maps.redirect import deferral, refusal, space_left

__all__ = [
    "IS_TEXT",
    "body",
    "comments",
    "deferral",
    "document",
    "is_format_of",
    "keys",
    "lines",
    "refusal",
    "row",
    "space_left",
    "value",
]

IS_TEXT = True

#: Keys made of these only are written as they are; all others in quotes.
_BARE = re.compile(rb"[A-Za-z0-9_.+=@!$%&'*/?^{|}~,;()<>\[\]`-]+")
_ESCAPED = re.compile(rb'[\x00-\x1f\x7f"\\]')
#: A line and the key in it.
_LINE = re.compile(rb'^("(?:[^"\\\n]|\\.)*"|[^#":\n][^:\n]*):.*', re.MULTILINE)
#: A line as `lines` writes it, which no line of another format looks like.
_OWN_LINE = re.compile(rb'(?:"(?:[^"\\\n]|\\.)*"|[^\s":]+): ')
_COMMENTS = re.compile(rb"(?:# [^\n]*(?:\n|\Z))*")


def document(entries: Iterable[Entry], comments: Iterable[str]) -> bytes:
    """Return a whole lsearch file, `comments` (a line each) first."""
    return b"".join((*(comment(text) for text in comments), *lines(entries)))


def lines(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Return the line of each entry. Raises ValueError for a key that lsearch could never find."""
    return (_line(_quoted(entry.key), entry.value) for entry in entries)


def row(entry: Entry) -> Row:
    """Return an entry as it is written. Raises ValueError for a key that lsearch cannot find."""
    key = _quoted(entry.key)
    return Row(key, _line(key, entry.value))


def _line(quoted: bytes, value: bytes) -> bytes:
    return b"%b: %b\n" % (quoted, value)


def body(content: bytes) -> bytes:
    """Return the lines of a map without comments."""
    return b"".join(line for line in content.splitlines(keepends=True) if not line.startswith(b"#"))


def comments(content: bytes) -> list[str]:
    """Return the `# ` lines that a map begins with, without that."""
    begin = _COMMENTS.match(content)
    assert begin is not None
    return [line[2:].decode("utf-8", "replace") for line in begin[0].splitlines()]


def keys(content: bytes) -> set[bytes]:
    """Return the keys of a map, as `lines` writes them."""
    return set(_LINE.findall(content))


def value(content: bytes, key: bytes) -> Optional[bytes]:
    """Return the value of a key from the first line that has it, ignoring case, as Exim does."""
    try:
        spelled = re.escape(_quoted(key))
    except ValueError:
        return None
    found = re.search(rb"^%b:[ \t]*([^\n]*)" % spelled, content, re.MULTILINE | re.IGNORECASE)
    return None if found is None else found[1]


def is_format_of(content: bytes) -> bool:
    """Return whether cyrusquota wrote this as an lsearch file; a map without lines can be one."""
    if not is_header(comments(content)):
        return False
    entries = body(content)
    return not entries or _OWN_LINE.match(entries) is not None


def _quoted(key: bytes) -> bytes:
    if not key or b"\0" in key:
        raise ValueError(f"an lsearch file cannot hold the key {key!r}")
    if _BARE.fullmatch(key):
        return key
    return b'"%b"' % _ESCAPED.sub(_escaped, key)


def _escaped(match: re.Match[bytes]) -> bytes:
    char = match[0]
    return b"\\" + char if char in b'"\\' else b"\\x%02x" % char[0]


def comment(text: str) -> bytes:
    """Return the line of a comment."""
    return b"# %b\n" % printable(text).encode("utf-8")
