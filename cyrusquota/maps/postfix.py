"""Write and read Postfix's access tables: `ADDRESS ACTION` lines (access(5)).

They work as texthash, or with `postmap` as any other type. A key is an address, or
`LOCAL@` for a local part in any domain; a local part that needs quotes in SMTP has them here.
"""

from __future__ import annotations

import re
from typing import Iterable, Optional

from cyrusquota.errors import OptionError
from cyrusquota.maps import message
from cyrusquota.maps._entry import Entry, Row
from cyrusquota.maps.header import is_header
from cyrusquota.maps.lsearch import body, comment, comments

__all__ = [
    "IS_TEXT",
    "body",
    "comments",
    "deferral",
    "document",
    "is_format_of",
    "keys",
    "refusal",
    "row",
    "space_left",
    "value",
]

IS_TEXT = True

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_ATOM = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*")
_QUOTED = re.compile(r'(["\\])')
#: A line and the key in it.
_LINE = re.compile(rb'^((?:"(?:[^"\\\n]|\\.)*"@)?[^#\s][^\s]*) .*', re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def document(entries: Iterable[Entry], comments: Iterable[str]) -> bytes:
    """Return a whole table, `comments` (a line each) first.

    Keys that Postfix could not find are left out: with control characters, not UTF-8, or with `#`
    at the beginning, which makes the line a comment.
    """
    rows = filter(None, map(row, entries))
    return b"".join((*(comment(text) for text in comments), *(line for _, line in rows)))


def row(entry: Entry) -> Optional[Row]:
    """Return an entry as it is written, or None for a key that Postfix could not find."""
    try:
        key = _key(entry.key.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    if key.startswith("#") or _CONTROL.search(key):
        return None
    written = key.encode("utf-8")
    return Row(written, b"%b %b\n" % (written, entry.value))


def keys(content: bytes) -> set[bytes]:
    """Return the keys of a table, as `document` writes them."""
    return set(_LINE.findall(content))


def value(content: bytes, key: bytes) -> Optional[bytes]:
    """Return the value of an address or a local part, or None."""
    spelled = re.escape(_key(key.decode("utf-8", "surrogateescape")))
    pattern = rb"^%b ([^\n]*)" % spelled.encode("utf-8", "surrogateescape")
    found = re.search(pattern, content, re.MULTILINE | re.IGNORECASE)
    return None if found is None else found[1]


def is_format_of(content: bytes) -> bool:
    """Return whether `content` is a table with entries that cyrusquota wrote."""
    return is_header(comments(content)) and _LINE.match(body(content)) is not None


def deferral(text: str) -> bytes:
    """Return the action that defers unless a later restriction refuses permanently.

    Where `text` has a reply code of its own, Postfix defers at once. Raises `OptionError`.
    """
    found = message.temporary(text)
    status = found.status or "4.2.2"
    return f"{found.code or 'DEFER_IF_PERMIT'} {status} {found.text}".encode("ascii")


def refusal(text: str) -> bytes:
    """Return the action that refuses permanently. Raises `OptionError`."""
    full = message.permanent(text)
    return f"{full.code} {full.status} {full.text}".encode("ascii")


def space_left(size: int) -> bytes:
    """Raise `OptionError`: Postfix compares no sizes."""
    raise OptionError("--headroom: an access table of Postfix cannot compare sizes; leave it out")


def _key(text: str) -> str:
    local, mark, domain = text.rpartition("@")
    if not mark:
        local, domain = text, ""
    if not _DOT_ATOM.fullmatch(local):
        local = '"' + _QUOTED.sub(r"\\\1", local) + '"'
    return f"{local}@{domain}"
