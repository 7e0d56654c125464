"""Text as it comes from terminals and by mistake: CR LF, other programs' output, no text at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota.errors import BadDump, BadReport, CyrusQuotaError, DataError
from cyrusquota.parse import dump, report
from cyrusquota.parse.prefilter import Margin, Prefilter
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.site import mailbox_list, source
from cyrusquota.site.site import Site
from tests.recorded_fixtures import FIXTURES, TWOSKIP

TEXTS = TWOSKIP / "text"
MAILBOXES = FIXTURES / "mailboxes"

Source = source.Source


def _terminal(text: bytes, cr: bytes = b"\r") -> bytes:
    """What a terminal makes of text."""
    return text.replace(b"\n", cr + b"\n")


def _read(
    kind: Callable[[io.BytesIO], Source], text: bytes, *, fast: bool
) -> tuple[list[QuotaRoot], list[str]]:
    """The roots of a report or a dump, and the problems."""
    problems: list[CyrusQuotaError] = []
    found = kind(io.BytesIO(text))
    prefilter = Prefilter(dict.fromkeys(Resource, Margin())) if fast else None
    roots = list(found.counted(prefilter, problems.append))
    return roots, [str(problem) for problem in problems]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cr", [b"\r", b"\r\r"], ids=["terminal", "terminal in terminal"])
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (source.from_report, TEXTS / "quota.txt"),
        (source.from_report, TEXTS / "quota.json"),
        (source.from_report, FIXTURES / "text-simulated" / "2.2-dots.txt"),
        (source.from_report, FIXTURES / "text-simulated" / "2.3-2.4-dots.txt"),
        (source.from_dump, TEXTS / "cyr_dbtool-show.txt"),
        (source.from_dump, TEXTS / "cvt_cyrusdb.flat"),
        (source.from_dump, FIXTURES / "berkeley" / "dump-p-btree.txt"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_text_with_cr_lf_reads_as_without(
    kind: Callable[[io.BytesIO], Source], path: Path, cr: bytes, fast: bool
) -> None:
    text = path.read_bytes()
    expected = _read(kind, text, fast=fast)
    assert expected[0]
    assert _read(kind, _terminal(text, cr), fast=fast) == expected


def test_large_text_with_cr_lf_reads_as_without_the_fast_way_too() -> None:
    """So large that pieces end anywhere."""
    rows = [f"       9       10       {n:9}              STORAGE user/u{n}\n" for n in range(9000)]
    rest = "                          0              MESSAGE user/u{0}\n"
    rest += "                          0   ANNOTATION-STORAGE user/u{0}\n"
    rest += "                          0              MAILBOX user/u{0}\n"
    text = "   Quota   % Used     Used             Resource Root\n"
    text += "".join(row + rest.format(n) for n, row in enumerate(rows))
    expected = _read(source.from_report, text.encode(), fast=True)
    assert _read(source.from_report, _terminal(text.encode()), fast=True) == expected
    lines = b"".join(b"user.u%d\t%%(S (%d 10))\n" % (n, n) for n in range(40_000))
    expected = _read(source.from_dump, lines, fast=True)
    assert _read(source.from_dump, _terminal(lines), fast=True) == expected


@pytest.mark.parametrize("name", ["ctl_mboxlist-d-y.json", "mailboxes-2.x.raw.txt"])
def test_a_list_of_mailboxes_with_cr_lf_reads_as_without(name: str) -> None:
    (path,) = MAILBOXES.rglob(name)
    expected = list(mailbox_list.from_dump(io.BytesIO(path.read_bytes())))
    assert len(expected) > 1
    assert list(mailbox_list.from_dump(io.BytesIO(_terminal(path.read_bytes())))) == expected


def test_a_cr_that_is_in_a_value_alone_stays() -> None:
    text = b"user.jane\t5 1\nuser.joe\t5 1\r\n"
    assert list(dump.records(io.BytesIO(text))) == [
        (b"user.jane", b"5 1"),
        (b"user.joe", b"5 1\r"),
    ]


# Usage below 0, printed without a sign


@pytest.mark.parametrize(
    "layout", [b"   Quota  % Used    Used Root\n", b"   Quota   % Used     Used Root\n"]
)
@pytest.mark.parametrize(
    ("used", "is_over"),
    # 2**64 - 1024 bytes and 2**63 bytes are below 0 to a signed variable; in KiB.
    [(18014398509481983, True), (9007199254740992, True), (9, False), (11, True)],
)
def test_usage_that_wrapped_is_over_quota_as_it_was_to_lmtpd(
    layout: bytes, used: int, is_over: bool
) -> None:
    text = layout + b"      10 %8d %8d user.jane\n" % (used * 10, used)
    (root,) = report.roots(io.BytesIO(text))
    assert root.storage.is_over() is is_over
    _, problems = _read(source.from_report, text, fast=False)
    assert problems == []


# What is no report, or no dump

REPORTS = [
    b"   Quota   % Used     Used             Resource Root\n      10\n",
    b'{\n  "user/jane": {}\n}\n',
]
DUMPS = [
    b"user.jane\t%(S (1 1))\n",
    b"user.jane\t5 1\n",
    b"VERSION=3\nformat=print\n",
    b"user.jane\t%(S (1 1))\r\n",
]
OTHERS = [
    (b"Disk quotas for user jane (uid 1000): none\n", "operating system"),
    (b"Disk quotas for user jane (uid 1000): \n     Filesystem  blocks   quota\n", "operating"),
    (b"*** Report for user quotas on device /dev/sda1\n", "operating system"),
    (b" STORAGE 1234/10240 (12.05078125%)\n", "cyradm"),
    (b"user.jane STORAGE 1234/10240 (12.05%) MESSAGE 3/10 (30%)\n", "cyradm"),
    (b" STORAGE 0/0\n", "cyradm"),
    (b"[sudo] password for jane: \r\n", "sudo"),
    (b"sudo: a password is required\n", "sudo"),
    (b"Password: \r\n   Quota   % Used     Used             Resource Root\r\n", "sudo"),
    (b'Script started on 2026-11-25 10:00:00+00:00 [TERM="xterm"]\n', "typescript"),
    ((TWOSKIP / "quotas.db").read_bytes(), "--db"),
    ((FIXTURES / "main" / "skiplist" / "quotas.db").read_bytes(), "--db"),
    ((FIXTURES / "main" / "sqlite" / "quotas.db").read_bytes(), "--db"),
]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        *((source.from_report, text, "--dump") for text in DUMPS),
        *((source.from_dump, text, "--quota-output") for text in REPORTS),
        *((source.from_report, *other) for other in OTHERS),
        *((source.from_dump, *other) for other in OTHERS),
    ],
)
def test_what_is_something_else_is_named(
    kind: Callable[[io.BytesIO], Source], text: bytes, named: str, fast: bool
) -> None:
    with pytest.raises(DataError, match=rf"; this is .*{named}") as caught:
        _read(kind, text, fast=fast)
    assert isinstance(caught.value, BadDump if kind is source.from_dump else BadReport)
    assert len(str(caught.value)) < 500


def test_a_report_with_a_wrong_header_is_not_sent_to_the_option_it_was_given_with() -> None:
    text = b"   Quota   % Used     Used             Resource Roots\n"
    with pytest.raises(BadReport, match="this is not what `quota` of Cyrus prints"):
        _read(source.from_report, text, fast=False)


@pytest.mark.parametrize(
    "key", [b"Password:", b" Quota % Used Used ", b"\0", b"{}", b"Script started on "]
)
def test_a_record_of_a_dump_may_have_any_key(key: bytes) -> None:
    text = key + b"\t%(S (1 1))\n"
    assert list(dump.records(io.BytesIO(text))) == [(key, b"%(S (1 1))")]


# Databases of another kind


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("path", sorted(MAILBOXES.rglob("*.db")), ids=lambda path: path.name)
def test_a_list_of_mailboxes_is_no_quota_database(path: Path, fast: bool) -> None:
    with pytest.raises(DataError, match="for --mailboxes"):
        _read(lambda stream: source.from_database(path), b"", fast=fast)


def test_a_dump_of_mailboxes_is_no_dump_of_quotas() -> None:
    (path,) = MAILBOXES.rglob("mailboxes-2.x.raw.txt")
    for fast in (False, True):
        with pytest.raises(DataError, match="for --mailboxes"):
            _read(source.from_dump, path.read_bytes(), fast=fast)


@pytest.mark.parametrize(
    "key", [b"user.jane\0000\0/comment\0", b"\0/motd\0", b"<1@example.org>\0user.jane\0"]
)
def test_annotations_and_deliveries_are_no_quotas(tmp_path: Path, key: bytes) -> None:
    from cyrusquota.strategies.writers.twoskip import TwoskipWriter

    writer = TwoskipWriter(tmp_path / "annotations.db")
    writer.begin()
    writer.set(key, b"\0\0\0\4text")
    writer.commit()
    with pytest.raises(DataError, match=r"annotations or deliveries; .*quotas\.db.*--db"):
        list(source.read(tmp_path / "annotations.db"))


@pytest.mark.parametrize(
    ("name", "named"), [("annotations.db", "quotas.db"), ("mailboxes.db", "--mailboxes")]
)
@pytest.mark.parametrize("fast", [False, True])
def test_an_empty_database_is_known_by_its_name(
    tmp_path: Path, name: str, named: str, fast: bool
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=named):
        _read(lambda stream: source.from_database(tmp_path / name), b"", fast=fast)
    (tmp_path / "limits.db").touch()
    empty = _read(lambda stream: source.from_database(tmp_path / "limits.db"), b"", fast=fast)
    assert empty == ([], [])


@pytest.mark.parametrize("directory", ["twoskip", "skiplist", "twom", "sqlite"])
def test_a_quota_database_is_no_list_of_mailboxes(directory: str) -> None:
    site = Site.from_mailboxes(FIXTURES / "main" / directory / "quotas.db")
    with pytest.raises(DataError, match="this is a quota database, for --db"):
        list(site.inboxes())
