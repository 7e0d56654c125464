"""Database values."""

from __future__ import annotations

import ctypes
from typing import Optional, Union

from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota.errors import BadValue, CyrusQuotaError
from cyrusquota.parse import value
from cyrusquota.quota import Resource, Usage
from tests import writers_text
from tests.property.strategies import (
    NASTY,
    NUMBERS,
    anything,
    canonical,
    figures,
    mutated,
    old_values,
    resources,
)
from tests.writers_text import UNITS, Figures

GRAMMAR = b' ()%SMANF0123456789ODEQ"\\{}+-\r\n\t'
CODES = dict(zip((b"S", b"M", b"AS", b"NF"), Resource))


def usage(resource: Resource, used: int, limit: Optional[int]) -> Usage:
    """What Cyrus makes of two signed 64-bit numbers."""
    unit = UNITS[list(Resource).index(resource)]
    if limit is None or limit < 0:
        return Usage(used, None)
    return Usage(used, ctypes.c_int64(limit * unit).value)


def expected(four: tuple[Figures, ...]) -> dict[Resource, Usage]:
    return {resource: usage(resource, *pair) for resource, pair in zip(Resource, four)}


@given(
    resources, st.none() | st.integers(0, 1 << 64), st.sampled_from([b"", b"MBOX {1+}\r\n) S 1"])
)
def test_what_cyrus_writes_comes_back(
    four: tuple[Figures, ...], modseq: Optional[int], scan: bytes
) -> None:
    assert value.usages(writers_text.dlist(four, modseq, scan)) == expected(four)


@given(figures)
def test_what_old_cyrus_wrote_comes_back(pair: Figures) -> None:
    raw = writers_text.old_value(*pair)
    assert value.usages(raw) == {Resource.STORAGE: usage(Resource.STORAGE, *pair)}


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


# Any dlist that Cyrus accepts, written out from a tree

Tree = Union[bytes, "list[Tree]"]

_atom = st.sampled_from(
    [b"0", b"5", b"007", b"+5", b"-1", b"1.5", b"0x10", b"NIL", b"S", b"x%y", b"1{2}"]
) | st.sampled_from(NUMBERS).map(lambda number: b"%d" % number)
_tree: st.SearchStrategy[Tree] = st.recursive(
    _atom, lambda inner: st.lists(inner, max_size=3), max_leaves=8
)
_pairs = st.lists(
    st.tuples(
        st.sampled_from([b"S", b"M", b"AS", b"NF", b"s", b"XX", b"MODSEQ", b"SCAN"]),
        st.lists(_tree, max_size=3),
    ),
    max_size=6,
)
_blank = st.sampled_from([b" ", b"  ", b"\t", b"\n", b"\r\n", b" \r "])


@st.composite
def written(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, list[Tree]]]]:
    """A dlist in one of its many spellings, and what it says."""
    pairs = draw(_pairs)

    def text(raw: bytes) -> bytes:
        form = draw(st.sampled_from(["atom", "quoted", "literal", "literal+"]))
        if form == "quoted":
            return b'"' + raw.replace(b"x", b"\\x") + b'"'
        if form.startswith("literal"):
            return b"{%d%b}\r\n%b" % (len(raw), b"+" if form.endswith("+") else b"", raw)
        return raw

    def node(tree: Tree) -> bytes:
        if isinstance(tree, bytes):
            return text(tree)
        return b"(" + b"".join(draw(_blank) + node(item) for item in tree) + b")"

    raw = b"".join(
        draw(_blank) + key + draw(_blank) + b"(" + b" ".join(map(node, items)) + b")"
        for key, items in pairs
    )
    return b"%(" + raw + draw(st.sampled_from([b"", b" "])) + b")", pairs


def number(tree: Tree) -> int:
    if not isinstance(tree, bytes) or not tree.isdigit() or int(tree) >= 1 << 64:
        return 0
    return ctypes.c_int64(int(tree)).value


@given(written())
def test_every_spelling_of_a_dlist_says_the_same(
    case: tuple[bytes, list[tuple[bytes, list[Tree]]]],
) -> None:
    raw, pairs = case
    wanted: dict[Resource, Usage] = {}
    for key, items in pairs:
        if key in CODES and CODES[key] not in wanted:
            used = number(items[0]) if items else 0
            limit = number(items[1]) if len(items) > 1 else None
            wanted[CODES[key]] = usage(CODES[key], used, limit)
    assert value.usages(raw) == wanted


def test_the_pool_of_nasty_bytes_is_tried_whole() -> None:
    for raw in NASTY:
        value.usages(raw, on_problem=lambda problem: None)
