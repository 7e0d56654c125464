"""Cyrus's list notation, used for quota values, mailbox rows and headers (imap/dlist.c).

    value := "%(" (key node)* ")"
    node  := "(" node* ")" | value | atom | "string" | {n}CRLF bytes

White space between items is free. Read as Cyrus reads it, into plain bytes and lists.
"""

from __future__ import annotations

import re
from typing import Optional, Union

#: A list of (key, node), the key being b"" in a plain list; an atom, string or literal is bytes.
Node = Union[bytes, "list[tuple[bytes, Node]]"]
Pairs = list[tuple[bytes, Node]]

#: Cyrus writes nothing near it; a longer value is not read, so that none takes long.
LONGEST = 1 << 20
#: Lists nested deeper are checked, but their items are not kept. Nobody asks for them.
_KEPT_DEPTH = 2

_BLANKS = re.compile(rb"[ \t\r\n\v\f]*")
_ATOM = re.compile(rb'[^ \t\r\n\v\f()"]*')
#: What ends a plain stretch of a quoted string.
_QUOTED_STOP = re.compile(rb'["\\\r\n]')
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n")
_NUL = b"\0"
#: What `next_nonspace` takes for the end of the text: it keeps bytes in a signed char.
_SIGNED_END = 0xFF


def child(pairs: Pairs, key: bytes) -> Optional[Node]:
    """Return the first node under `key`, or None."""
    return next((node for name, node in pairs if name == key), None)


def text(node: Optional[Node]) -> Optional[bytes]:
    """Return the bytes of an atom, string or literal, or None for anything else."""
    return node if isinstance(node, bytes) else None


def parse(value: bytes, *, signed: bool = False) -> tuple[int, Optional[Pairs]]:
    """Return the end of the outermost list and its items, or the offset of an error and None.

    With `signed`, bytes above 0x7F where an item may start are read as `dlist_parse` does, which
    quota values go through: 0xFF right after an opening parenthesis is skipped, anywhere else it
    ends the text; at the others Cyrus aborts. A stack instead of recursion allows any depth.
    """
    if not value.startswith(b"%(") or len(value) > LONGEST:
        return min(1, len(value)), None
    kept: list[Pairs] = [[]]
    keyed = bytearray(b"\1")
    is_opened = True
    at = 2
    while True:
        at = _skip_blanks(value, at)
        if value[at : at + 1] == b")":
            keyed.pop()
            at += 1
            if not keyed:
                return at, kept[0]
            del kept[len(keyed) :]
            is_opened = False
            continue
        if signed and value[at : at + 1] >= b"\x80":
            if value[at] != _SIGNED_END or not is_opened:
                return at, None
            at += 1
        key = b""
        if keyed[-1]:
            at, found = _string(value, at, is_key=True)
            at = _skip_blanks(value, at)
            if found is None or (signed and value[at : at + 1] >= b"\x80"):
                return at, None
            key = found
        items = kept[-1] if len(keyed) <= _KEPT_DEPTH else []
        is_opened = value.startswith((b"(", b"%("), at)
        if is_opened:
            keyed.append(value[at] != ord("("))
            at += 1 + keyed[-1]
            opened: Pairs = []
            items.append((key, opened))
            if len(keyed) <= _KEPT_DEPTH:
                kept.append(opened)
            continue
        at, item = _string(value, at, is_key=False)
        if item is None:
            return at, None
        items.append((key, item))


def _skip_blanks(value: bytes, at: int) -> int:
    blanks = _BLANKS.match(value, at)
    return at if blanks is None else blanks.end()


def _string(value: bytes, at: int, *, is_key: bool) -> tuple[int, Optional[bytes]]:
    """Return the end of an atom, string or literal, and its bytes (getxstring in imapparse.c).

    Cyrus takes atoms and strings for C strings, which end at a NUL.
    """
    start = value[at : at + 1]
    if start == b'"':
        return _quoted(value, at + 1)
    if start == b"{":
        length = _LITERAL.match(value, at)
        end = len(value) + 1 if length is None else length.end() + int(length[1])
        if length is None or end > len(value):
            return at, None
        literal = value[length.end() : end]
        return end, None if is_key and _NUL in literal else literal
    if not start or start in b" ()\r\n" or (start == b"%" and not is_key):
        return at, None
    atom = _ATOM.match(value, at)
    assert atom is not None
    return atom.end(), atom[0].partition(_NUL)[0]


def _quoted(value: bytes, at: int) -> tuple[int, Optional[bytes]]:
    """Read a string after its opening quote; a backslash takes any byte."""
    pieces = []
    while True:
        stop = _QUOTED_STOP.search(value, at)
        if stop is None:
            return len(value), None
        pieces.append(value[at : stop.start()])
        at = stop.end()
        if stop[0] == b'"':
            return at, b"".join(pieces).partition(_NUL)[0]
        if stop[0] != b"\\":
            return stop.start(), None
        pieces.append(value[at : at + 1])
        at += 1
