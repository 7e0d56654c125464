"""What `quota` prints, in the layouts of all versions."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Callable, Optional

import pytest

from cyrusquota.errors import BadReport, CyrusQuotaError
from cyrusquota.parse import report
from cyrusquota.quota import QuotaRoot, Usage
from tests.recorded_fixtures import FIXTURES, Expected, main_roots

HEADER = b"   Quota   % Used     Used             Resource Root\n"
HEADER_2_2 = b"   Quota  % Used    Used Root\n"
HEADER_2_3 = b"   Quota   % Used     Used Root\n"


def roots(text: bytes) -> list[QuotaRoot]:
    return list(report.roots(io.BytesIO(text)))


def by_name(path: Path) -> dict[str, QuotaRoot]:
    found = roots(path.read_bytes())
    names = {root.name: root for root in found}
    assert len(names) == len(found)
    return names


def block(root: bytes, *first: bytes) -> bytes:
    """The four rows of a root; the first ones given, the others unused and unlimited."""
    words = (b"STORAGE", b"MESSAGE", b"X-ANNOTATION-STORAGE", b"X-NUM-FOLDERS")
    columns = (*first, *[b" " * 25 + b"0"] * 4)
    rows = zip(columns, words)
    return b"".join(b"%b %b %b\n" % (text, word.rjust(20), root) for text, word in rows)


def without_domain(name: str) -> bool:
    return "!" not in name


def not_a_whole_domain(name: str) -> bool:
    return not name.endswith("!")


@pytest.mark.parametrize(
    ("config", "nameable"),
    [
        ("default", without_domain),
        ("unixhierarchysep-no", without_domain),
        ("virtdomains-dots", not_a_whole_domain),
        ("virtdomains-slash", not_a_whole_domain),
    ],
)
def test_recorded_text_gives_every_root_that_cyrus_could_name(
    config: str, nameable: Callable[[str], bool]
) -> None:
    expected = {name: root.in_text for name, root in main_roots().items() if nameable(name)}
    assert by_name(FIXTURES / "text-by-config" / config / "quota.txt") == expected


@pytest.mark.parametrize(
    ("path", "nameable"),
    [
        ("text-by-config/default/quota.json", without_domain),
        ("text-by-config/unixhierarchysep-no/quota.json", without_domain),
        ("text-by-config/virtdomains-dots/quota.json", not_a_whole_domain),
        ("text-by-config/virtdomains-slash/quota.json", not_a_whole_domain),
        ("text-simulated/master-J-with-repairs.json", not_a_whole_domain),
    ],
)
def test_recorded_json_gives_every_root_that_is_utf8(
    path: str, nameable: Callable[[str], bool]
) -> None:
    expected = {
        name: root.in_json
        for name, root in main_roots().items()
        if nameable(name) and "\udcfc" not in name
    }
    assert by_name(FIXTURES / path) == expected


@pytest.mark.parametrize(
    ("path", "nameable"),
    [
        ("text-simulated/2.5-internal-names.txt", lambda name: True),
        ("text-simulated/3.10-3.13-virtdomains-slash.txt", not_a_whole_domain),
    ],
)
def test_other_versions_with_four_resources(path: str, nameable: Callable[[str], bool]) -> None:
    expected = {name: root.in_text for name, root in main_roots().items() if nameable(name)}
    assert by_name(FIXTURES / path) == expected


@pytest.mark.parametrize(
    "path", ["2.2-dots.txt", "2.3-2.4-dots.txt", "2.3-2.4-slash-virtdomains.txt"]
)
def test_versions_with_storage_alone(path: str) -> None:
    found = by_name(FIXTURES / "text-simulated" / path)
    everything: dict[str, Expected] = main_roots()
    assert len(found) > 40
    assert found == {name: everything[name].in_old_text for name in found}


@pytest.mark.parametrize("header", [HEADER_2_2, HEADER_2_3, HEADER])
def test_a_header_alone_is_a_report_of_no_roots(header: bytes) -> None:
    assert roots(header) == []


def test_storage_is_cut_to_kib_and_says_so() -> None:
    text = HEADER + block(b"user/jane", b"      10      100       10")
    assert roots(text)[0].storage == Usage(10240, 10240, exact=False)
    assert roots(text)[0].storage.is_over() is False
    assert roots(text)[0].message.exact is True


@pytest.mark.parametrize(
    ("columns", "usage"),
    [
        (b"      10      100       10", Usage(10240, 10240, exact=False)),
        (b"                        10", Usage(10240, None, exact=False)),
        (b"       0                 7", Usage(7168, 0, exact=False)),
        (b"       0                 0", Usage(0, 0, exact=False)),
        (b"     100        0       -1", Usage(-1024, 102400, exact=False)),
        (
            b" 2147483648      100 2147483648",
            Usage(2199023255552, 2199023255552, exact=False),
        ),
        (
            b" 9007199254740992        0        0",
            Usage(0, -9223372036854775808, exact=False),
        ),
        (b"       1 976562500 9765625", Usage(10000000000, 1024, exact=False)),
    ],
)
def test_columns_of_four_resources(columns: bytes, usage: Usage) -> None:
    assert [root.storage for root in roots(HEADER + block(b"user/x", columns))] == [usage]


@pytest.mark.parametrize(
    ("row", "name", "used", "limit"),
    [
        (b"      10      100       10 user.a", "user.a", 10240, 10240),
        (b"      10      100       10 7 x", "7 x", 10240, 10240),
        (b"                        10 user.a", "user.a", 10240, None),
        (b"                        10 1 2 3", "1 2 3", 10240, None),
        (b"                 123456789 user.a", "user.a", 126419751936, None),
        (b"       0                10 user.a", "user.a", 10240, 0),
        (b"       0                10 1 2", "1 2", 10240, 0),
        (b" 123456789      100 123456789 user.a", "user.a", 126419751936, 126419751936),
    ],
)
def test_columns_of_storage_alone(row: bytes, name: str, used: int, limit: Optional[int]) -> None:
    expected = QuotaRoot(name, storage=Usage(used, limit, exact=False))
    assert roots(HEADER_2_3 + row + b"\n") == [expected]


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        (b"user/jane/my folder", "user.jane.my folder"),
        (b"123", "123"),
        (b"1 2 STORAGE x", "1 2 STORAGE x"),
        (b" lead", " lead"),
        (b"trail ", "trail "),
        (b"user/m\xfcller", "user.m\udcfcller"),
    ],
)
def test_odd_names_come_out_whole(printed: bytes, name: str) -> None:
    assert [root.name for root in roots(HEADER + block(printed))] == [name]


def test_roots_without_a_name_are_passed_over() -> None:
    text = HEADER + block(b"(null)") * 2 + block(b"user/jane") + block(b"(null)")
    assert [root.name for root in roots(text)] == ["user.jane"]


def test_roots_without_a_name_are_passed_over_in_old_reports() -> None:
    assert roots(HEADER_2_3 + b"                         5 (null)\n") == []


@pytest.mark.parametrize(
    "noise",
    [
        b"user.jane: quota root (none) --> user.jane\n",
        b"user.jane.archive: quota root user.jane --> user.jane.archive\n",
        b"user.gone: removed\n",
        b"user.jane: STORAGE usage was 2048, now 10370\n",
        b"user.jane: X-NUM-FOLDERS usage was 1, now 2\n",
        b"user.jane: usage was 2048, now 10370\n",
    ],
)
@pytest.mark.parametrize("header", [HEADER, HEADER_2_3])
def test_messages_of_a_repair_are_passed_over(header: bytes, noise: bytes) -> None:
    row = block(b"user/jane") if header == HEADER else b"                         0 user.jane\n"
    assert [root.name for root in roots(noise + header + noise + row + noise)] == ["user.jane"]


def test_a_report_that_breaks_off_is_not_believed() -> None:
    first, last = HEADER + block(b"user/jane"), block(b"user/janet")
    for length in range(1, len(last)):
        with pytest.raises(BadReport):
            roots(first + last[:length])


@pytest.mark.parametrize("header", [HEADER, HEADER_2_3])
def test_a_header_that_breaks_off_is_not_believed(header: bytes) -> None:
    with pytest.raises(BadReport):
        roots(header[:-1])


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"user.jane\t5 1\n", b"quota: cannot open\n", b"\xff\xfe\n", b"   Quota\n"],
)
def test_what_is_no_report_raises(text: bytes) -> None:
    with pytest.raises(BadReport):
        roots(text)


def test_a_row_that_makes_no_sense_loses_its_root_only() -> None:
    problems: list[CyrusQuotaError] = []
    broken = block(b"user/bad").replace(b"MESSAGE", b"MASSAGE")
    text = HEADER + block(b"user/a") + broken + block(b"user/b")
    found = list(report.roots(io.BytesIO(text), on_problem=problems.append))
    assert [root.name for root in found] == ["user.a", "user.b"]
    assert [type(problem) for problem in problems] == [BadReport, BadReport]
    assert "line 7" in str(problems[0])


@pytest.mark.parametrize(
    "columns",
    [b"       5                 7", b" 99999999999999999999   1   1", b" " * 7 + b"9" * 19],
)
def test_columns_that_cyrus_never_prints_are_problems(columns: bytes) -> None:
    with pytest.raises(BadReport):
        roots(HEADER + block(b"user/x", columns))


def test_the_same_root_may_follow_itself() -> None:
    assert len(roots(HEADER + block(b"user/a") * 2)) == 2


def test_a_long_line_takes_no_time_out_of_proportion() -> None:
    began = time.perf_counter()
    with pytest.raises(BadReport):
        roots(b": quota root " * 12_000 + b"\n")
    assert time.perf_counter() - began < 0.3


# -J


def test_json_sizes_are_bytes_and_exact() -> None:
    text = b'{"user/jane": {"STORAGE": {"used": 10241, "limit": 10240}, "MESSAGE": {"used": 3}}}'
    assert roots(text) == [
        QuotaRoot("user.jane", storage=Usage(10241, 10240), message=Usage(3, None))
    ]


@pytest.mark.parametrize(
    "words", [("X-ANNOTATION-STORAGE", "X-NUM-FOLDERS"), ("ANNOTATION-STORAGE", "MAILBOX")]
)
def test_json_resources_under_both_names(words: tuple[str, str]) -> None:
    text = json.dumps({"a": {words[0]: {"used": 1}, words[1]: {"used": 2, "limit": 3}}})
    assert roots(text.encode()) == [
        QuotaRoot("a", annotation_storage=Usage(1, None), mailbox=Usage(2, 3))
    ]


@pytest.mark.parametrize("text", [b"{}", b"{}\n", b"\n {\n}\n ", b'{"_repairs": ["x"]}'])
def test_json_without_roots(text: bytes) -> None:
    assert roots(text) == []


def test_json_negative_usage() -> None:
    assert roots(b'{"a": {"STORAGE": {"used": -5}}}')[0].storage == Usage(-5, None)


def test_json_that_breaks_off_is_not_believed() -> None:
    whole = b'{"user/jane": {"STORAGE": {"used": 1}}, "user/b": {}}'
    for length in range(len(whole)):
        with pytest.raises(BadReport):
            roots(whole[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"{} x",
        b'{"a": {}} {}',
        b"{1: 2}",
        b'{"a" {}}',
        b'{"a": {},}',
        b'{"a": \xff}',
        b'{"\xff": {}}',
    ],
)
def test_json_that_is_none_raises(text: bytes) -> None:
    with pytest.raises(BadReport):
        roots(text)


@pytest.mark.parametrize(
    "value",
    [
        b"1",
        b"null",
        b"[]",
        b'{"STORAGE": 5}',
        b'{"STORAGE": {}}',
        b'{"STORAGE": {"used": "5"}}',
        b'{"STORAGE": {"used": 5.0}}',
        b'{"STORAGE": {"used": true}}',
        b'{"STORAGE": {"used": NaN}}',
        b'{"STORAGE": {"used": 5, "limit": null}}',
        b'{"STORAGE": {"used": 9223372036854775808}}',
        b'{"STORAGE": {"used": ' + b"9" * 5000 + b"}}",
    ],
)
def test_a_json_root_that_makes_no_sense_loses_that_root_only(value: bytes) -> None:
    problems: list[CyrusQuotaError] = []
    text = b'{"user/a": {}, "user/bad": %b, "user/b": {}}' % value
    found = list(report.roots(io.BytesIO(text), on_problem=problems.append))
    assert [root.name for root in found] == ["user.a", "user.b"]
    assert [type(problem) for problem in problems] == [BadReport]
    assert "user/bad" in str(problems[0])


def test_no_depth_of_json_nesting_raises_anything_undocumented() -> None:
    for depth in range(900, 1000):
        text = b'{"a": ' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(BadReport):
            roots(text)


@pytest.mark.parametrize(
    ("text", "offset"), [(b'{"user/jane"', 12), (b'{"a": {}, "b"', 13), (b'{"a": 1', 7), (b"{", 1)]
)
def test_json_that_breaks_off_does_so_at_its_end(text: bytes, offset: int) -> None:
    with pytest.raises(BadReport) as caught:
        list(report.roots(io.BytesIO(text), on_problem=lambda problem: None))
    assert caught.value.place.offset == offset
