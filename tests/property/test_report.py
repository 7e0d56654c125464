"""What `quota` prints, written by independent writers of each layout."""

from __future__ import annotations

import ctypes
import io
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.errors import BadReport, CyrusQuotaError
from cyrusquota.parse import report
from cyrusquota.quota import QuotaRoot, Resource, Usage
from tests import writers_text
from tests.property.strategies import NASTY, anything, mutated, raw_name, rows, utf8_rows
from tests.writers_text import (
    LAYOUT_2_2,
    LAYOUT_2_3,
    UNITS,
    WORDS_2_5,
    WORDS_3_10,
    Figures,
    Layout,
    Row,
    toward_zero,
)

NOISE = (
    b"user.a: quota root (none) --> user.a\n",
    b"user.gone: removed\n",
    b"user.a: STORAGE usage was 2048, now -1\n",
    b"user.a: usage was 2048, now 10370\n",
)
_words = st.sampled_from([WORDS_2_5, WORDS_3_10])
_noise = st.lists(st.sampled_from(NOISE), max_size=2).map(b"".join)
_old_rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(
        raw_name,
        st.tuples(
            st.tuples(st.integers(0, 1 << 62), st.none() | st.integers(0, (1 << 31) - 1)),
            st.just((0, None)),
            st.just((0, None)),
            st.just((0, None)),
        ),
    ),
    max_size=6,
)


def roots(text: bytes) -> list[QuotaRoot]:
    return list(report.roots(io.BytesIO(text)))


def name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def in_text(unit: int, figures: Figures) -> Usage:
    used, limit = figures
    most: Optional[int] = None if limit is None else ctypes.c_int64(limit * unit).value
    return Usage(toward_zero(used, unit) * unit, most, exact=unit == 1)


def in_json(unit: int, figures: Figures) -> Usage:
    used, limit = figures
    return Usage(used, ctypes.c_int64(limit * unit).value if limit else None)


@given(rows, _words, _noise)
def test_text_of_four_resources_comes_back(
    given_rows: list[Row], words: tuple[bytes, ...], noise: bytes
) -> None:
    assert roots(noise + writers_text.report(given_rows, words)) == [
        QuotaRoot(name(raw), *map(in_text, UNITS, four)) for raw, four in given_rows
    ]


@pytest.mark.parametrize("layout", [LAYOUT_2_2, LAYOUT_2_3], ids=["2.2", "2.3"])
@given(given_rows=_old_rows, noise=_noise)
def test_text_of_storage_alone_comes_back(
    layout: Layout, given_rows: list[Row], noise: bytes
) -> None:
    assert roots(noise + writers_text.old_report(layout, given_rows)) == [
        QuotaRoot(name(raw), storage=in_text(1024, storage)) for raw, (storage, *_) in given_rows
    ]


@given(utf8_rows, _words, st.sampled_from([None, 0, 2]))
def test_json_comes_back(
    given_rows: list[Row], words: tuple[bytes, ...], indent: Optional[int]
) -> None:
    assert roots(writers_text.json_report(given_rows, words, indent)) == [
        QuotaRoot(name(raw), *map(in_json, UNITS, four)) for raw, four in given_rows
    ]


@given(utf8_rows.filter(bool), st.integers(1, 200))
def test_json_is_the_same_however_it_arrives(given_rows: list[Row], chunk: int) -> None:
    text = writers_text.json_report(given_rows)

    class Slow(io.BytesIO):
        def read(self, size: Optional[int] = -1, /) -> bytes:
            return super().read(min(chunk, size or 0))

    assert list(report.roots(Slow(text))) == roots(text)


@given(rows.filter(bool), st.data())
def test_a_cut_text_gives_only_true_roots_or_raises(
    given_rows: list[Row], data: st.DataObject
) -> None:
    text = writers_text.report(given_rows)
    # A header without its line break is a case of its own.
    start = text.index(b"\n") + 1
    cut = text[: data.draw(st.integers(start, len(text) - 1))]
    whole = roots(text)
    if cut.endswith(b"\n") and cut.count(b"\n") % len(Resource) == 1:
        assert roots(cut) == whole[: cut.count(b"\n") // len(Resource)]
    else:
        with pytest.raises(BadReport):
            roots(cut)


@given(utf8_rows, st.data())
def test_cut_json_raises(given_rows: list[Row], data: st.DataObject) -> None:
    text = writers_text.json_report(given_rows)
    with pytest.raises(BadReport):
        roots(text[: data.draw(st.integers(0, len(text) - 1))])


_whole = st.one_of(
    rows.map(writers_text.report),
    _old_rows.map(lambda given_rows: writers_text.old_report(LAYOUT_2_3, given_rows)),
    utf8_rows.map(writers_text.json_report),
)


@given(anything | mutated(_whole) | mutated(_whole, b' 0123456789{}[],:"\n-'))
def test_any_bytes_give_roots_or_the_documented_error(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    try:
        for root in report.roots(io.BytesIO(raw), on_problem=problems.append):
            for _, usage in root.usages():
                assert -(1 << 63) <= usage.used < 1 << 63
                assert usage.limit is None or -(1 << 63) <= usage.limit < 1 << 63
    except BadReport as error:
        problems.append(error)
    assert all(isinstance(problem, BadReport) for problem in problems)
    assert all("\n" not in str(problem) for problem in problems)


@pytest.mark.parametrize("raw", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("first", ["", "   Quota   % Used     Used Root\n", '{"a": '])
def test_the_pool_of_nasty_bytes_is_tried_whole(raw: bytes, first: str) -> None:
    try:
        list(report.roots(io.BytesIO(first.encode() + raw), on_problem=lambda problem: None))
    except BadReport as error:
        assert "\n" not in str(error)
