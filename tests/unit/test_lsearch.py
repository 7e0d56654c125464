"""lsearch files, byte for byte as Exim was seen to read them."""

from __future__ import annotations

import pytest

from cyrusquota.maps import Entry, lsearch

VALUE = b":defer: full"

BARE = [
    b"jane",
    b"Jane.Doe",
    b"user^name",
    b"o'brien",
    b"a,b",
    b"a;b",
    b"a{b}c",
    b"$x",
    b"${run{x}}",
    b"%41",
    b"*",
    b"!neg",
    b"+ext",
    b"/etc/x",
    b"[x]",
    b"a|b",
    b"jane@example.test",
    b"-dash",
    b"a=b?c&d~e`f(g)<h>_",
]
QUOTED = [
    (b"jane doe", b'"jane doe"'),
    (b"  lead", b'"  lead"'),
    (b"trail ", b'"trail "'),
    (b"a:b", b'"a:b"'),
    (b":", b'":"'),
    (b"#hash", b'"#hash"'),
    (b'a"b', b'"a\\"b"'),
    (b'"quoted"', b'"\\"quoted\\""'),
    (b'"', b'"\\""'),
    (b"back\\slash", b'"back\\\\slash"'),
    (b"\\x41", b'"\\\\x41"'),
    (b"tab\there", b'"tab\\x09here"'),
    (b"new\nline", b'"new\\x0aline"'),
    (b"car\rriage", b'"car\\x0driage"'),
    (b"\x01\x1f\x7f", b'"\\x01\\x1f\\x7f"'),
]


@pytest.mark.parametrize("key", BARE)
def test_keys_without_meaning_to_lsearch_stand_as_they_are(key: bytes) -> None:
    assert b"".join(lsearch.lines([Entry(key, VALUE)])) == key + b": :defer: full\n"


@pytest.mark.parametrize(("key", "written"), QUOTED)
def test_other_keys_stand_in_quotes(key: bytes, written: bytes) -> None:
    assert b"".join(lsearch.lines([Entry(key, VALUE)])) == written + b": :defer: full\n"


@pytest.mark.parametrize("key", ["j\u00fcrgen".encode(), b"lat\xfcn", b"\x85\xa0\xff"])
def test_bytes_above_ascii_stay_raw_in_or_out_of_quotes(key: bytes) -> None:
    line = b"".join(lsearch.lines([Entry(key, VALUE)]))
    assert line in (key + b": :defer: full\n", b'"' + key + b'": :defer: full\n')


@pytest.mark.parametrize("key", [b"", b"\0", b"a\0b"])
def test_keys_that_could_never_be_found_are_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="cannot hold the key"):
        list(lsearch.lines([Entry(key, VALUE)]))


def test_a_document_has_its_comments_first() -> None:
    assert lsearch.document([Entry(b"a", b"1"), Entry(b"b", b"2")], ["one", "two"]) == (
        b"# one\n# two\na: 1\nb: 2\n"
    )


def test_a_comment_stays_on_its_line() -> None:
    document = lsearch.document([], ["source: a\njane: x\r\0\udcff"])
    assert document == b"# source: a\\njane: x\\r\\x00\\xff\n"


def test_comments_do_not_count_as_content() -> None:
    assert lsearch.body(b'# one\na: 1\n#two\n"#b": 2\n') == b'a: 1\n"#b": 2\n'
    assert lsearch.body(b"") == b""
