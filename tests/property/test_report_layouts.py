"""What `quota` prints, written by independent writers of each layout."""

from __future__ import annotations

import io
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import strategies
from cyrusquota.errors import BadReport, CyrusQuotaError
from cyrusquota.parse import report
from cyrusquota.quota import QuotaRoot, Resource
from tests.property.strategies import NASTY, anything, mutated

Report = tuple[bytes, list[QuotaRoot]]

NOISE = (
    b"user.a: quota root (none) --> user.a\n",
    b"user.gone: removed\n",
    b"user.a: STORAGE usage was 2048, now -1\n",
    b"user.a: usage was 2048, now 10370\n",
)
_noise = st.lists(st.sampled_from(NOISE), max_size=2).map(b"".join)
_text = strategies.reports("2.5") | strategies.reports("3.10")
_json = strategies.reports("3.0 -J") | strategies.reports("3.10 -J")


def roots(text: bytes) -> list[QuotaRoot]:
    return list(report.roots(io.BytesIO(text)))


@pytest.mark.parametrize("version", strategies.REPORTS)
@given(data=st.data(), noise=_noise)
def test_a_report_of_any_version_comes_back(
    version: str, data: st.DataObject, noise: bytes
) -> None:
    text, expected = data.draw(strategies.reports(version))
    # Messages of `quota -f` come before the text; with -J there are none.
    assert roots(text if "-J" in version else noise + text) == expected


@given(_json.filter(lambda case: bool(case[1])), st.integers(1, 200))
def test_json_is_the_same_however_it_arrives(case: Report, chunk: int) -> None:
    text, expected = case

    class Slow(io.BytesIO):
        def read(self, size: Optional[int] = -1, /) -> bytes:
            return super().read(min(chunk, size or 0))

    assert list(report.roots(Slow(text))) == expected


@given(_text.filter(lambda case: bool(case[1])), st.data())
def test_a_cut_text_gives_only_true_roots_or_raises(case: Report, data: st.DataObject) -> None:
    text, expected = case
    # A header without its line break is a case of its own.
    start = text.index(b"\n") + 1
    cut = text[: data.draw(st.integers(start, len(text) - 1))]
    if cut.endswith(b"\n") and cut.count(b"\n") % len(Resource) == 1:
        assert roots(cut) == expected[: cut.count(b"\n") // len(Resource)]
    else:
        with pytest.raises(BadReport):
            roots(cut)


@given(_json, st.data())
def test_cut_json_raises(case: Report, data: st.DataObject) -> None:
    text, _ = case
    with pytest.raises(BadReport):
        roots(text[: data.draw(st.integers(0, len(text) - 1))])


_whole = strategies.reports().map(lambda case: case[0])


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
