"""Dumps, written by independent writers of each form."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cyrusquota.errors import BadDump, CyrusQuotaError
from cyrusquota.parse import dump
from tests import writers_text
from tests.property.strategies import NASTY, anything, mutated, values

_key = st.binary(min_size=1, max_size=30) | st.sampled_from(
    [b"user.jane", b"user.m\xfcller", b"a\tb\nc\0d\xffe\rf", b"\xff", b"\x80", b"dXNlcg=="]
)
_line_key = _key.map(lambda key: key.translate(bytes.maketrans(b"\t\n", b"xx")))
#: What `show` writes of such a name cannot be told from the escapes of a flat file.
_LOOKS_ESCAPED = re.compile(rb"\xff[\x80\x89\x8a\x8d\xff]")


def records(text: bytes) -> dict[bytes, bytes]:
    return dict(dump.records(io.BytesIO(text)))


@given(st.dictionaries(_line_key, values))
def test_what_show_prints_comes_back(state: dict[bytes, bytes]) -> None:
    assume(not any(_LOOKS_ESCAPED.search(key) for key in state))
    assert records(writers_text.show(state)) == state


@given(st.dictionaries(_key, values))
def test_a_flat_file_comes_back(state: dict[bytes, bytes]) -> None:
    assert records(writers_text.flat(state)) == state


@given(st.dictionaries(_key, values))
def test_what_show_prints_in_base64_comes_back(state: dict[bytes, bytes]) -> None:
    assert records(writers_text.show_base64(state)) == state


@given(st.dictionaries(_line_key, values, min_size=1), st.data())
def test_a_cut_dump_gives_only_true_records_or_raises(
    state: dict[bytes, bytes], data: st.DataObject
) -> None:
    assume(not any(_LOOKS_ESCAPED.search(key) for key in state))
    text = writers_text.show(state)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    if not cut or cut.endswith(b"\n"):
        assert records(cut).items() <= state.items()
    else:
        with pytest.raises(BadDump):
            records(cut)


_whole = st.dictionaries(_key, values).map(writers_text.flat)


@given(anything | mutated(_whole) | mutated(_whole, b"\t\n\xff\x80\x89=Aa0"))
def test_any_bytes_give_records_or_the_documented_error(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    found = 0
    try:
        for _ in dump.records(io.BytesIO(raw), on_problem=problems.append):
            found += 1
    except BadDump as error:
        problems.append(error)
    assert all(isinstance(problem, BadDump) for problem in problems)
    assert found + len(problems) == raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))
    assert all("\n" not in str(problem) for problem in problems)


@pytest.mark.parametrize("raw", NASTY, ids=range(len(NASTY)))
def test_the_pool_of_nasty_bytes_is_tried_whole(raw: bytes) -> None:
    try:
        list(dump.records(io.BytesIO(raw), on_problem=lambda problem: None))
    except BadDump as error:
        assert "\n" not in str(error)
