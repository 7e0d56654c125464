"""Database values."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota import strategies
from cyrusquota.errors import BadValue, CyrusQuotaError
from cyrusquota.parse import value
from tests.property.strategies import NASTY, anything, mutated

GRAMMAR = b' ()%SMANF0123456789ODEQ"\\{}+-\r\n\t'
canonical = strategies.values("new").map(lambda case: case[0])
old_values = strategies.values("old").map(lambda case: case[0])


@pytest.mark.parametrize("grammar", strategies.GRAMMARS)
@given(data=st.data())
def test_what_cyrus_makes_of_a_value_comes_back(grammar: str, data: st.DataObject) -> None:
    raw, expected = data.draw(strategies.values(grammar))
    assert value.usages(raw) == expected


@given(strategies.bad_values())
def test_a_bad_value_is_a_problem_and_limits_nothing(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    assert not value.usages(raw, on_problem=problems.append)
    assert [type(problem) for problem in problems] == [BadValue]


@given(mutated(canonical, GRAMMAR) | canonical)
@example(b"%(S (1) M (2) AS (3) NF (4)  MODSEQ 5)")
@example(b"%(S (1) M (2) AS (3) NF (4) MODSEQ 5) ")
@example(b"%(S (1 ) M (2) AS (3) NF (4))")
@example(b"%(S (999999999999999999 999999999999999) M (1) AS (1) NF (1))")
def test_the_fast_path_agrees_with_the_grammar(raw: bytes) -> None:
    if not raw.startswith(b"%"):
        return
    fast: list[CyrusQuotaError] = []
    plain: list[CyrusQuotaError] = []
    assert value.usages(raw, on_problem=fast.append) == value._from_dlist(raw, plain.append)
    assert [str(problem) for problem in fast] == [str(problem) for problem in plain]


@given(anything | mutated(canonical | old_values, GRAMMAR) | mutated(canonical | old_values))
def test_any_bytes_give_usages_or_the_documented_error(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    found = value.usages(raw, on_problem=problems.append)
    assert all(isinstance(problem, BadValue) for problem in problems)
    assert len(problems) <= 1
    assert all("\n" not in str(problem) for problem in problems)
    # What cannot be read lists nobody.
    if problems:
        assert not found
    for one in (found or {}).values():
        assert -(1 << 63) <= one.used < 1 << 63
        assert one.limit is None or -(1 << 63) <= one.limit < 1 << 63


def test_the_pool_of_nasty_bytes_is_tried_whole() -> None:
    for raw in NASTY:
        value.usages(raw, on_problem=lambda problem: None)
