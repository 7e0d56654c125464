"""Cyrus's list notation, used for quota values, mailbox rows and headers (imap/dlist.c).

    value := "%(" (key node)* ")"
    node  := "(" node* ")" | value | atom | "string" | {n}CRLF bytes

White space between items is free. Read as Cyrus reads it, into plain bytes and lists.
"""

from __future__ import annotations

import re
from typing import Optional, Union

import attrs

#: A list of (key, node), the key being b"" in a plain list; an atom, string or literal is bytes.
Node = Union[bytes, "list[tuple[bytes, Node]]"]
Pairs = list[tuple[bytes, Node]]

_WHITE = rb" \t\r\n\v\f"
_TOKEN = re.compile(
    rb"[%(w)s]*(?:(?P<open>%%?\()|(?P<close>\))"
    rb'|"(?P<quoted>(?:[^"\\\r\n]|\\[^\r\n])*)"'
    rb"|\{(?P<length>[0-9]{1,18})\+?\}\r\n"
    rb'|(?P<atom>[^%(w)s()"{][^%(w)s()"]*))' % {b"w": _WHITE}
)


def child(pairs: Pairs, key: bytes) -> Optional[Node]:
    """Return the first node under `key`, or None."""
    return next((node for name, node in pairs if name == key), None)


def text(node: Optional[Node]) -> Optional[bytes]:
    """Return the bytes of an atom, string or literal, or None for anything else."""
    return node if isinstance(node, bytes) else None


def parse(value: bytes) -> tuple[int, Optional[Pairs]]:
    """Return the end of the outermost list and its items, or the offset of an error and None.

    A stack instead of recursion allows any depth of nesting.
    """
    if not value.startswith(b"%("):
        return 1, None
    lists = [_List(keyed=True)]
    at = 2
    while True:
        token = _TOKEN.match(value, at)
        if token is None:
            return at, None
        kind, here = token.lastgroup, lists[-1]
        at = token.end()
        if kind == "close":
            if here.key is not None:
                return at - 1, None
            lists.pop()
            if not lists:
                return at, here.items
            lists[-1].add(here.items)
        elif kind == "open":
            if here.wants_key:
                return token.start("open"), None
            lists.append(_List(keyed=token["open"] == b"%("))
        else:
            at, item = _item(value, token)
            if item is None:
                return at, None
            if here.wants_key:
                here.key = item
            elif kind == "atom" and item.startswith(b"%"):
                return token.start("atom"), None
            else:
                here.add(item)


@attrs.define
class _List:
    """A list that is not closed yet; `key` waits for its node."""

    keyed: bool
    items: Pairs = attrs.field(factory=list)
    key: Optional[bytes] = None

    @property
    def wants_key(self) -> bool:
        return self.keyed and self.key is None

    def add(self, node: Node) -> None:
        self.items.append((self.key or b"", node))
        self.key = None


def _item(value: bytes, token: re.Match[bytes]) -> tuple[int, Optional[bytes]]:
    """Return the end of an atom, string or literal, and its bytes; None for a cut literal."""
    if token.lastgroup == "quoted":
        return token.end(), re.sub(rb"\\(.)", rb"\1", token["quoted"], flags=re.DOTALL)
    if token.lastgroup == "length":
        end = token.end() + int(token["length"])
        return (end, value[token.end() : end]) if end <= len(value) else (len(value), None)
    return token.end(), token["atom"]
