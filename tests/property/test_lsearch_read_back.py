"""lsearch files, read back by an independent reader that follows Exim's rules."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.maps import Entry, lsearch

_key = st.binary(min_size=1, max_size=30).filter(lambda key: b"\0" not in key) | st.sampled_from(
    [
        b"#",
        b":",
        b" ",
        b'"',
        b"\\",
        b"a: b",
        b'a"',
        b"\\x41",
        b"\n",
        b"\r",
        b"\t",
        b"*",
        b"\xef\xbb\xbf",
    ]
)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_VALUE = b":defer: 4.2.2 full"


def unquoted(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if escaped[:1] == b"x":
        return bytes((int(escaped[1:], 16),))
    return _ESCAPES.get(escaped, escaped)


def exim_reads(content: bytes) -> list[tuple[bytes, bytes]]:
    """Keys and values as lsearch has them: comments, quoted keys, an optional colon."""
    found = []
    for line in content.split(b"\n")[:-1]:
        if not line or line[:1] in b"# \t":
            continue
        if line.startswith(b'"'):
            match = re.match(rb'"((?:[^"\\]|\\.)*)"', line, re.DOTALL)
            assert match is not None
            key = re.sub(rb"\\(x[0-9a-fA-F]{1,2}|.)", unquoted, match[1], flags=re.DOTALL)
        else:
            match = re.match(rb"[^: \t\r\v\f]*", line)
            assert match is not None
            key = match[0]
        rest = re.sub(rb"\A[ \t]*:?[ \t]*", b"", line[match.end() :], count=1)
        found.append((key, rest.rstrip()))
    return found


@given(st.lists(_key, max_size=10), st.lists(st.text(max_size=20), max_size=3))
def test_exim_finds_every_key(keys: list[bytes], comments: list[str]) -> None:
    document = lsearch.document([Entry(key, _VALUE) for key in keys], comments)
    assert exim_reads(document) == [(key, _VALUE) for key in keys]


@given(st.lists(_key, max_size=10), st.lists(st.text(max_size=20), max_size=3))
def test_the_body_is_the_document_without_comments(keys: list[bytes], comments: list[str]) -> None:
    listed = [Entry(key, _VALUE) for key in keys]
    assert lsearch.body(lsearch.document(listed, comments)) == lsearch.document(listed, [])
