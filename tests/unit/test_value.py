"""Database values of both grammars, against what a real lmtpd 3.6.1 made of them."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from cyrusquota.cyrusdb.quotalegacy import layout
from cyrusquota.errors import BadValue, CyrusQuotaError
from cyrusquota.parse import value
from cyrusquota.quota import QuotaRoot, Resource, Usage
from tests.recorded_fixtures import FIXTURES

RECORDED = [
    json.loads(line) for line in (FIXTURES / "values" / "answers.jsonl").read_text().splitlines()
]
S, M, AS, NF = Resource
U64 = 1 << 64

Figures = dict[Resource, tuple[int, Optional[int]]]

GOOD: list[tuple[bytes, Figures]] = [
    # Up to 2.4
    (b"84123588 102400", {S: (84123588, 104857600)}),
    (b"0 0", {S: (0, 0)}),
    (b"999999999 -1", {S: (999999999, None)}),
    (b"5 -2", {S: (5, None)}),
    (b"-17 100", {S: (-17, 102400)}),
    (b"+5 +1", {S: (5, 1024)}),
    (b"2048 10 999", {S: (2048, 10240)}),
    (b"2048 10\r", {S: (2048, 10240)}),
    (b"2048\n10\n", {S: (2048, 10240)}),
    (b"  2048\t10  ", {S: (2048, 10240)}),
    (b"2048x 10y", {S: (2048, 10240)}),
    (b"5 1 M 11 10", {S: (5, 1024), M: (11, 10)}),
    (b"5 1 m 11 10", {S: (5, 1024), M: (11, 10)}),
    (b"5 1 7 M 11 10 7", {S: (5, 1024), M: (11, 10)}),
    (
        b"5 1 M 11 10 as 3 2 Nf 2 4",
        {S: (5, 1024), M: (11, 10), AS: (3, 2048), NF: (2, 4)},
    ),
    (b"5 1 S 6 2", {S: (6, 2048)}),
    (b"99999999999999999999 1", {S: ((1 << 63) - 1, 1024)}),
    (b"-99999999999999999999 1", {S: (-(1 << 63), 1024)}),
    # 2.5 and later, as written
    (
        b"%(S (1024 10) M (3) AS (0) NF (2) MODSEQ 5)",
        {S: (1024, 10240), M: (3, None), AS: (0, None), NF: (2, None)},
    ),
    (
        b"%(S (1024 10) M (3) AS (0) NF (2))",
        {S: (1024, 10240), M: (3, None), AS: (0, None), NF: (2, None)},
    ),
    (
        b"%(S (1 2) M (3 4) AS (5 6) NF (7 8) MODSEQ 18446744073709551615)",
        {S: (1, 2048), M: (3, 4), AS: (5, 6144), NF: (7, 8)},
    ),
    (
        b"%(S (20000 10) M (5) AS (0) NF (1) SCAN %(MBOX user.jane S 1 M 2 AS 3 NF 4) MODSEQ 9)",
        {S: (20000, 10240), M: (5, None), AS: (0, None), NF: (1, None)},
    ),
    (b'%(S (1 1) SCAN %(MBOX "a \\"b\\" c" S 9))', {S: (1, 1024)}),
    (b"%(S (1 1) SCAN %(MBOX {4+}\r\na)b( S 9))", {S: (1, 1024)}),
    (b"%(S (1 1) SCAN %(MBOX {4}\r\na)b( S 9))", {S: (1, 1024)}),
    # ... and as accepted
    (b"%()", {}),
    (b"%(  )", {}),
    (b"%(S ())", {S: (0, None)}),
    (b"%(S (5))", {S: (5, None)}),
    (b"%(S(5 1)M(2 3))", {S: (5, 1024), M: (2, 3)}),
    (b"%(\tS\n( 5\r\n1 )  )", {S: (5, 1024)}),
    (b"%(NF (1 1) S (5 1))", {NF: (1, 1), S: (5, 1024)}),
    (b"%(S (5 1) S (6 2))", {S: (5, 1024)}),
    (b"%(s (5 1))", {}),
    (b"%(m (5 1) M (6 2))", {M: (6, 2)}),
    (b"%(XX (1 2) S (5 1) YY z)", {S: (5, 1024)}),
    (b"%(S (5 1 7 8 (9)))", {S: (5, 1024)}),
    (b'%(S ("5" "1"))', {S: (5, 1024)}),
    (b"%(S ({1}\r\n5 {1+}\r\n1))", {S: (5, 1024)}),
    # Numbers that are none read as 0
    (b"%(S (+5 1))", {S: (0, 1024)}),
    (b"%(S (-5 1))", {S: (0, 1024)}),
    (b"%(S (1.5 1))", {S: (0, 1024)}),
    (b"%(S (0x10 1))", {S: (0, 1024)}),
    (b"%(S (NIL 1))", {S: (0, 1024)}),
    (b'%(S ("" 1))', {S: (0, 1024)}),
    (b"%(S ((5) 1))", {S: (0, 1024)}),
    (b"%%(S (%d 1))" % U64, {S: (0, 1024)}),
    (b"%(S (99999999999999999999999999 1))", {S: (0, 1024)}),
    (b"%(S (0000000000000000000000000000000000007 1))", {S: (7, 1024)}),
    # ... limits too, which makes `-1` a limit of nothing
    (b"%(S (10 -1))", {S: (10, 0)}),
    (b"%(S (10 NIL))", {S: (10, 0)}),
    # From 2**63 on they are negative; a negative limit is none
    (b"%%(S (%d 1000))" % (U64 - 5), {S: (-5, 1024000)}),
    (b"%%(S (%d 1))" % (1 << 63), {S: (-(1 << 63), 1024)}),
    (b"%%(S (%d 1))" % ((1 << 63) - 1), {S: ((1 << 63) - 1, 1024)}),
    (b"%%(S (5 %d))" % (U64 - 1), {S: (5, None)}),
    (b"%%(S (99999999 %d))" % (U64 - 2), {S: (99999999, None)}),
    # Limits are multiplied in 64 bits
    (b"%(S (5 9007199254740991))", {S: (5, 9223372036854774784)}),
    (b"%(S (5 9007199254740992))", {S: (5, -9223372036854775808)}),
    (b"%(S (5 18014398509481984))", {S: (5, 0)}),
    (b"%(M (5 9007199254740992))", {M: (5, 9007199254740992)}),
    # A percent sign is a key, too
    (b"%(% (7 7) S (5 1))", {S: (5, 1024)}),
    (b"%(%(7 7) S (5 1))", {S: (5, 1024)}),
    # 0xFF where an item starts is skipped behind an opening parenthesis...
    (b"%(\xffS (5 1))", {S: (5, 1024)}),
    (b"%(S (\xff5 1))", {S: (5, 1024)}),
    (b"%(S ( \xff5 1))", {S: (5, 1024)}),
    (b"%(S (\xff\xff5 1))", {S: (0, 1024)}),
    # ... where a TAB behind it is an empty item, and a blank an error
    (b"%(S (\xff\t1))", {S: (0, 1024)}),
    # NUL ends an atom or a string, but not a literal
    (b"%(S (5\x009 1))", {S: (5, 1024)}),
    (b'%(S ("5\x009" 1))', {S: (5, 1024)}),
    (b"%(S\0x (5 1))", {S: (5, 1024)}),
    (b"%(S ({2+}\r\n5\x00 1))", {S: (0, 1024)}),
    # A backslash in a string takes any byte
    (b'%(S (5 1) X "a\\\nb")', {S: (5, 1024)}),
    # VT and FF are blanks of scanf, which do not divide words
    (b"\v5 \f1", {S: (5, 1024)}),
]

BAD_FORMAT = [
    b"garbage",
    b"abc",
    b"5",
    b"5 ",
    b"5 x",
    b"5 1 M",
    b"5 1 M 11",
    b"5 1 XX 3 4",
    b"5 1 7 8",
    b" ",
    b"\n",
    b"- 1",
    b" %(S (5 1))",
    b"%(S (5 1)) ",
    b"%(S (5 1))\n",
    b"%(S (5 1)))",
    b"%(S (5 1))%(S (5 1))",
]

SETS_NOTHING = [
    b"%",
    b"%x",
    b"%(",
    b"%(S",
    b"%(S (",
    b"%(S (5",
    b"%(S (5 1",
    b"%(S (5 1)",
    b"%(S (999999 1) M (1",
    b"%(S)",
    b"%(S (5 1) M)",
    b"%((5 1))",
    b'%(S ("5',
    b'%(S ("5\n" 1))',
    b"%(S ({9}\r\n5",
    b"%(S ({99999999999999999999}\r\n5))",
    # 0xFF where an item starts, but not right behind an opening parenthesis
    b"%(S (5 1)\xff M (1 1))",
    b"%(S \xff(5 1))",
    b"%(S (5 \xff1))",
    b"%(S (\xff 5 1))",
    b"%({2+}\r\nS\0 (5 1))",
    b"%(S %5)",
]


@pytest.mark.parametrize(("raw", "figures"), GOOD)
def test_a_value_sets_what_lmtpd_reads_in_it(raw: bytes, figures: Figures) -> None:
    expected = {resource: Usage(*pair) for resource, pair in figures.items()}
    assert value.usages(raw) == expected


@pytest.mark.parametrize("raw", BAD_FORMAT)
def test_bad_format_is_reported_and_is_no_root(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    assert value.usages(raw, on_problem=problems.append) is None
    assert [type(problem) for problem in problems] == [BadValue]


@pytest.mark.parametrize("raw", SETS_NOTHING)
def test_a_value_that_breaks_off_is_reported_and_sets_nothing(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    assert value.usages(raw, on_problem=problems.append) == {}
    assert [type(problem) for problem in problems] == [BadValue]


@pytest.mark.parametrize("raw", [*BAD_FORMAT, *SETS_NOTHING])
def test_the_first_problem_raises_unless_told_otherwise(raw: bytes) -> None:
    with pytest.raises(BadValue):
        value.usages(raw)


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0%(S (5 1))"])
def test_an_empty_value_is_no_root_and_no_problem(raw: bytes) -> None:
    assert value.usages(raw) is None
    assert value.quota_root(b"user.jane", raw) is None


@pytest.mark.parametrize("raw", [b"5\v1", b"5\f1", b"\v 1", b"5 \v"])
def test_only_space_tab_cr_and_lf_separate_old_numbers(raw: bytes) -> None:
    with pytest.raises(BadValue):
        value.usages(raw)


def test_a_resource_the_value_leaves_out_is_unused_and_unlimited() -> None:
    assert value.quota_root(b"user.jane", b"%(M (5 1))") == QuotaRoot(
        "user.jane", message=Usage(5, 1)
    )


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    root = value.quota_root(b"user.m\xfcller", b"1 1")
    assert root is not None
    assert root.name == "user.m\udcfcller"


def test_a_problem_names_the_root_and_the_column() -> None:
    with pytest.raises(BadValue) as caught:
        value.quota_root(b"user.bad3", b"%(S (5 1)) ")
    assert caught.value.place.key == b"user.bad3"
    assert caught.value.place.column == 11
    assert "user.bad3" in str(caught.value)
    assert caught.value.caret == "%(S (5 1)) \n          ^"


@pytest.mark.parametrize("byte", [b"\x80", b"\xc3", b"\xfe"])
def test_where_lmtpd_aborts_nothing_is_set(byte: bytes) -> None:
    """It takes the byte for a negative number and dies; the MTA gets no answer to go by."""
    for raw in (b"%%(%bS (9999 1))", b"%%(S (9999 1) %b)", b"%%(S %b(9999 1))", b"%%(S (%b 1))"):
        problems: list[CyrusQuotaError] = []
        assert value.usages(raw % byte, on_problem=problems.append) == {}
        assert len(problems) == 1


@pytest.mark.parametrize(
    "raw", [b"9999 1" + b" 7" * (1 << 20), b"%(S (9999 1) X (" + b"()" * (1 << 20)]
)
def test_a_value_of_megabytes_is_not_read(raw: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    assert value.usages(raw, on_problem=problems.append) is None
    assert "a value of at most 1048576 bytes" in str(problems[0])


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: repr(case["value"]))
def test_recorded_values_are_read_as_lmtpd_reads_them(case: dict[str, Any]) -> None:
    """By what it answered: 452 over quota, 250 not, 451 bad format."""
    raw = case["value"].encode("latin-1")
    # Of a quotalegacy file nothing counts behind a NUL.
    for backend, found in (("twoskip", raw), ("quotalegacy", layout.value(raw + b"\n"))):
        root = value.quota_root(b"user.jane", found, on_problem=lambda problem: None)
        is_over = root is not None and any(usage.is_over() for _, usage in root.usages())
        code = 451 if root is None else 452 if is_over else 250
        assert code == case["lmtpd"][backend]


def test_nesting_has_no_limit() -> None:
    deep = b"(" * 100_000 + b")" * 100_000
    assert value.usages(b"%(X " + deep + b" S (5 1))") == {S: Usage(5, 1024)}
