"""Dumps, written by independent writers of each form."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import strategies
from cyrusquota.errors import BadDump, CyrusQuotaError
from cyrusquota.parse import dump
from tests.property.strategies import NASTY, anything, mutated

_key = st.binary(min_size=1, max_size=30) | st.sampled_from(
    [b"user.jane", b"user.m\xfcller", b"a\tb\nc\0d\xffe\rf", b"\xff", b"\x80", b"dXNlcg=="]
)
_contents = st.dictionaries(_key, strategies.values().map(lambda case: case[0]))


def records(text: bytes) -> dict[bytes, bytes]:
    return dict(dump.records(io.BytesIO(text)))


@pytest.mark.parametrize("form", strategies.DUMPS)
@given(data=st.data())
def test_a_dump_of_any_form_comes_back(form: str, data: st.DataObject) -> None:
    text, expected = data.draw(strategies.dumps(form, _contents))
    assert records(text) == expected


@pytest.mark.parametrize("form", strategies.DUMPS)
@given(data=st.data())
def test_a_cut_dump_gives_only_true_records_or_raises(form: str, data: st.DataObject) -> None:
    contents = strategies.records().filter(bool)
    text, expected = data.draw(strategies.dumps(form, contents).filter(lambda case: bool(case[0])))
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    if not cut or (cut.endswith(b"\n") and not form.startswith("db_dump")):
        assert records(cut).items() <= expected.items()
    else:
        with pytest.raises(BadDump):
            records(cut)


_whole = strategies.dumps("flat", _contents).map(lambda case: case[0])


@given(anything | mutated(_whole) | mutated(_whole, b"\t\n\xff\x80\x89=Aa0"))
def test_any_bytes_give_records_or_the_documented_error(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    found = 0
    try:
        for _ in dump.records(io.BytesIO(raw), on_problem=problems.append):
            found += 1
    except BadDump as error:
        problems.append(error)
        if "this is" in error.advice:
            # The first line shows that it is something else.
            assert (found, len(problems)) == (0, 1)
            return
    assert all(isinstance(problem, BadDump) for problem in problems)
    assert found + len(problems) == raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))
    assert all("\n" not in str(problem) for problem in problems)


@pytest.mark.parametrize("raw", NASTY, ids=range(len(NASTY)))
def test_the_pool_of_nasty_bytes_is_tried_whole(raw: bytes) -> None:
    try:
        list(dump.records(io.BytesIO(raw), on_problem=lambda problem: None))
    except BadDump as error:
        assert "\n" not in str(error)
