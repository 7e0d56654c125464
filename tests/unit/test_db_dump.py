"""What `db_dump` writes of BerkeleyDB files, and where those files themselves lead to."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from cyrusquota import cyrusdb
from cyrusquota.errors import BadDump, CyrusQuotaError, UnsupportedBackend
from cyrusquota.parse import dump

BERKELEY = Path(__file__).parents[1] / "fixtures" / "berkeley"
EXPECTED = {
    key.encode("latin-1"): value.encode("latin-1")
    for key, value in json.loads((BERKELEY / "expected.json").read_text("utf-8")).items()
}
PRINTED = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n"
IN_HEX = PRINTED.replace(b"print", b"bytevalue")
END = b"DATA=END\n"

Rows = list[tuple[bytes, bytes]]


def strictly(text: bytes) -> Rows:
    return list(dump.records(io.BytesIO(text)))


def leniently(text: bytes) -> tuple[Rows, list[CyrusQuotaError]]:
    problems: list[CyrusQuotaError] = []
    return list(dump.records(io.BytesIO(text), on_problem=problems.append)), problems


@pytest.mark.parametrize("path", sorted(BERKELEY.glob("dump-*.txt")), ids=lambda path: path.name)
def test_recorded_dumps_are_read(path: Path) -> None:
    rows = strictly(path.read_bytes())
    assert len(rows) == len(EXPECTED)
    assert dict(rows) == EXPECTED


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (PRINTED + END, []),
        (PRINTED + b" k\n v\n" + END, [(b"k", b"v")]),
        (PRINTED + b" \n \n" + END, [(b"", b"")]),
        (PRINTED + b"  k\n \\\\\\0a\\FF\n" + END, [(b" k", b"\\\n\xff")]),
        (PRINTED + b" DATA=END\n v\n" + END, [(b"DATA=END", b"v")]),
        (IN_HEX + b" 6b\n 76\n" + END, [(b"k", b"v")]),
        (IN_HEX + b" 6B6b\n \n" + END, [(b"kk", b"")]),
        (PRINTED.replace(b"btree", b"hash\nh_nelem=7") + b" k\n v\n" + END, [(b"k", b"v")]),
    ],
)
def test_small_dumps(text: bytes, rows: Rows) -> None:
    assert strictly(text) == rows


@pytest.mark.parametrize(
    "rows",
    [b" \\q\n v\n", b" k\n \\1\n", b" k\n \\\n", b"k\n v\n", b" k\nv\n", b"\n v\n"],
)
def test_a_pair_that_cannot_be_made_out_is_a_problem_and_left_out(rows: bytes) -> None:
    text = PRINTED + b" a\n 1\n" + rows + b" b\n 2\n" + END
    found, problems = leniently(text)
    assert found == [(b"a", b"1"), (b"b", b"2")]
    assert [type(problem) for problem in problems] == [BadDump]
    with pytest.raises(BadDump):
        strictly(text)


def test_odd_hex_is_a_problem() -> None:
    found, problems = leniently(IN_HEX + b" 6\n 76\n 6b\n 76\n" + END)
    assert found == [(b"k", b"v")]
    assert "line 5" in str(problems[0])


def test_a_key_without_a_value_is_a_problem() -> None:
    found, problems = leniently(PRINTED + b" a\n 1\n b\n" + END)
    assert found == [(b"a", b"1")]
    assert "'b'" in str(problems[0])


def test_every_cut_of_a_dump_is_noticed() -> None:
    text = (BERKELEY / "dump-p-btree.txt").read_bytes()
    for length in range(1, len(text)):
        rows = []
        with pytest.raises(BadDump):
            for row in dump.records(io.BytesIO(text[:length])):
                rows.append(row)
        assert rows == sorted(EXPECTED.items())[: len(rows)]


@pytest.mark.parametrize(
    "text",
    [
        PRINTED.replace(b"format=print\n", b"") + END,
        PRINTED.replace(b"print", b"odd") + END,
        PRINTED.replace(b"btree", b"recno") + b" v\n" + END,
        PRINTED + END + b" k\n v\n",
        PRINTED + END + PRINTED + END,
    ],
)
def test_what_is_no_dump_of_one_btree_or_hash_is_refused(text: bytes) -> None:
    with pytest.raises(BadDump):
        leniently(text)


@pytest.mark.parametrize("kind", ["btree", "hash"])
def test_a_berkeley_file_is_answered_with_the_command_that_dumps_it(kind: str) -> None:
    path = BERKELEY / f"quotas-{kind}.db"
    with pytest.raises(UnsupportedBackend) as raised:
        cyrusdb.open(path)
    assert f"db_dump -p {shlex.quote(str(path))} | cyrusquota-export --dump -" in str(raised.value)
    assert "-h" in str(raised.value)
