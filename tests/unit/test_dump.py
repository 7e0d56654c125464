"""Dumps of a quota database: `cyr_dbtool ... show`, and conversions to flat."""

from __future__ import annotations

import io

import pytest

from cyrusquota.errors import BadDump, CyrusQuotaError
from cyrusquota.parse import dump
from cyrusquota.site.source import from_dump
from tests.recorded_fixtures import TWOSKIP, main_roots


def records(text: bytes) -> list[tuple[bytes, bytes]]:
    return list(dump.records(io.BytesIO(text)))


@pytest.mark.parametrize("name", ["cyr_dbtool-show.txt", "cvt_cyrusdb.flat"])
def test_recorded_dumps_give_every_root(name: str) -> None:
    with (TWOSKIP / "text" / name).open("rb") as stream:
        found = list(from_dump(stream).roots())
    assert {root.name: root for root in found} == {
        name: root.root for name, root in main_roots().items()
    }
    assert len(found) == 57


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b"user.jane\t5 1\n", (b"user.jane", b"5 1")),
        (b"user.jane\t\n", (b"user.jane", b"")),
        (b"\t5 1\n", (b"", b"5 1")),
        (b"user.jane.my folder\t5 1\n", (b"user.jane.my folder", b"5 1")),
        (b"user.jane\t5\t1\n", (b"user.jane", b"5\t1")),
        (b"user.jane\t5 1\r\n", (b"user.jane", b"5 1")),
        # Raw 8-bit bytes of `show`
        (b"user.m\xfcller\t5 1\n", (b"user.m\xfcller", b"5 1")),
        (b"user.\xffa\t5 1\n", (b"user.\xffa", b"5 1")),
        # Escapes of a flat file
        (b"a\xff\x80b\xff\x89c\xff\x8ad\xff\x8de\t5 1\n", (b"a\0b\tc\nd\re", b"5 1")),
        (b"a\xff\xffb\t5 1\n", (b"a\xffb", b"5 1")),
        (b"a\xff\xff\xff\x89\t5 1\n", (b"a\xff\t", b"5 1")),
        (b"a\t5\xff\x8a1\n", (b"a", b"5\n1")),
        # base64 of both, `-b`
        (b"dXNlci5qYW5l\tNSAx\n", (b"user.jane", b"5 1")),
        (b"dXNlci5qYW5l\tJShTICg1IDEpKQ==\n", (b"user.jane", b"%(S (5 1))")),
        # Neither is base64: a quota value has a blank or a parenthesis.
        (b"abcd\tabcd\n", (b"abcd", b"abcd")),
        (b"user.jane\tNSAx\n", (b"user.jane", b"NSAx")),
    ],
)
def test_a_line_is_a_record(line: bytes, record: tuple[bytes, bytes]) -> None:
    assert records(line) == [record]


def test_an_empty_dump_has_no_records() -> None:
    assert records(b"") == []


def test_a_line_without_tab_is_a_problem_and_the_rest_is_read() -> None:
    problems: list[CyrusQuotaError] = []
    text = io.BytesIO(b"a\t1 1\nbroken\nb\t2 2\n")
    found = list(dump.records(text, source="d", on_problem=problems.append))
    assert found == [(b"a", b"1 1"), (b"b", b"2 2")]
    assert [str(problem) for problem in problems] == [
        "d, line 2: expected KEY TAB VALUE, found 'broken'; the line is left out; make the dump"
        " again"
    ]


def test_a_line_without_tab_raises_unless_told_otherwise() -> None:
    with pytest.raises(BadDump):
        records(b"broken\n")


@pytest.mark.parametrize("text", [b"a\t1 1\nb\t2 2", b"a", b"a\t1 1\n "])
def test_a_dump_that_breaks_off_raises_whatever_is_done_with_problems(text: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    with pytest.raises(BadDump, match="make it again"):
        list(dump.records(io.BytesIO(text), on_problem=problems.append))
