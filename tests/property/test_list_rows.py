"""`list` writes many roots at once as it writes each of them, and selects no fewer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Union

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cli.list import list_roots
from cyrusquota.cli.list_formats import CsvFormat, EvaluatedRoot, JsonLinesFormat
from cyrusquota.cyrus.names import Naming
from cyrusquota.parse import columns

from .test_fast_paths import any_value, small

_keys = st.sampled_from(
    [b'user."a"', b"user.a,b", b"user.\xc3\xa4", b"user.\xff", b"user.a b", b"x!user.a^b", b"=1"]
) | st.binary(min_size=1, max_size=6)
_pair = st.builds(
    b"%d %d".__mod__, st.tuples(st.integers(0, 10**18 - 1), st.integers(0, 10**15 - 1))
)
_one = _pair | st.integers(0, 10**18 - 1).map(b"%d".__mod__)
_usual = st.builds(
    b"%%(S (%b) M (%b) AS (%b) NF (%b) MODSEQ 7)".__mod__, st.tuples(_one, _one, _one, _one)
)
WRITTEN = [CsvFormat(), CsvFormat(is_for_terminal=True), JsonLinesFormat(Naming())]


@pytest.mark.parametrize("written", WRITTEN, ids=["csv", "csv on a terminal", "jsonl"])
@given(st.lists(st.tuples(_keys, _usual), min_size=1, max_size=6))
def test_many_rows_at_once_are_those_of_each_root(
    written: Union[CsvFormat, JsonLinesFormat], records: list[tuple[bytes, bytes]]
) -> None:
    keys, values = zip(*records)
    found = columns.columns(keys, values)
    assert found is not None
    expected = [written.row(EvaluatedRoot(root, root)) for root in found.roots()]
    assert written.plain_rows(found) == expected


_rows = st.dictionaries(
    st.from_regex(rb"(x\.org!)?user\.[a-cB^]{1,2}(@x\^org)?(\.sub)?", fullmatch=True)
    | st.sampled_from([b"user", b"shared.x", b"user.\xff"]),
    any_value.filter(lambda data: b"\n" not in data and b"\0" not in data and b"\t" not in data),
    min_size=1,
    max_size=12,
)
_WORDS = (
    *((), (), ("a*",), ("user.b",), ("?B@x.org",), ("--domain", "x.org"), ("*@X.ORG", "cc")),
    *(("X.org!user.*",), ("[ab]*",), ("a", "b*", "user.c.sub"), ("*",), ("a@",), ("B^a", "c.?")),
)
_options = st.sampled_from([(), ("--over",), ("--near", "90"), ("--near", "0"), ("--near", "150")])


@given(
    rows=_rows,
    form=st.sampled_from(["csv", "jsonl", "table"]),
    options=_options,
    reserve=st.sampled_from([(), ("--reserve", "1M"), ("--reserve", "2%")]),
    words=st.sampled_from(_WORDS),
)
def test_a_large_database_is_listed_as_a_small_one(
    rows: dict[bytes, bytes],
    form: str,
    options: tuple[str, ...],
    reserve: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "quotas.db"
        in_order = sorted(rows.items(), key=lambda row: row[0].replace(b".", b"\2"))
        path.write_bytes(b"".join(b"%b\t%b\n" % row for row in in_order))
        arguments = ["--db", str(path), "--format", form, *options, *reserve, *words]
        plain = CliRunner().invoke(list_roots, arguments)
        with small():
            fast = CliRunner().invoke(list_roots, arguments)
    assert str(fast.exception) == str(plain.exception)
    assert fast.output == plain.output
