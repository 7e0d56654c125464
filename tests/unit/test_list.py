"""cyrusquota list: which roots, in which order, and how they look."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota.cli import main
from cyrusquota.site import conversations
from tests.recorded_fixtures import TWOSKIP
from tests.unit.terminals import on_terminal

MIB = 1 << 20
DATABASE = TWOSKIP / "quotas.db"

#: In the order of a source: full, near, fine, unlimited, full in another resource.
DUMP = b"""\
user.jane\t%(S (2097152 1024) M (3 10))
user.max\t%(S (943718 1024))
user.bob\t%(S (943719 1024))
user.boss\t%(S (9437184))
user.eve\t%(S (10240 1024) M (11 10))
user.eve.archive\t%(S (1048576 1024))
example.org!user.jane\t%(S (1024 1024))
user.jim@example^net\t%(S (1048577 1024))
"""

Run = Callable[..., "tuple[int, bytes, str]"]


@pytest.fixture
def run(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run `cyrusquota list` on a dump."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: str, dump: bytes = DUMP) -> tuple[int, bytes, str]:
        path = tmp_path / "dump"
        path.write_bytes(dump)
        monkeypatch.setattr(sys, "argv", ["cyrusquota", "list", "--dump", str(path), *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err.decode()

    return call


@pytest.fixture
def names(run: Run) -> Callable[..., list[str]]:
    """The names of the roots that are listed."""

    def call(*arguments: str, dump: bytes = DUMP) -> list[str]:
        status, out, err = run(*arguments, "--format", "jsonl", dump=dump)
        assert status == 0
        assert all(": no quota root" in line for line in err.splitlines())
        return [json.loads(line)["root"] for line in out.splitlines()]

    return call


Names = Callable[..., "list[str]"]

OVER = ["user.jane", "user.eve", "user.jim@example^net"]


def test_a_table_has_the_resource_that_decides(run: Run) -> None:
    status, out, err = run("user.*")
    assert (status, err) == (0, "")
    assert out.decode().splitlines() == [
        " USE  STATE       USED    LIMIT  RESOURCE  USER OR ROOT",
        "200%  over     2.0 MiB  1.0 MiB  STORAGE   user.jane",
        " 89%         921.6 KiB  1.0 MiB  STORAGE   user.max",
        " 90%         921.6 KiB  1.0 MiB  STORAGE   user.bob",
        "   -           9.0 MiB        -  STORAGE   user.boss",
        "110%  over          11       10  MESSAGE   user.eve",
        "100%           1.0 MiB  1.0 MiB  STORAGE   user.eve.archive",
        "101%  over     1.0 MiB  1.0 MiB  STORAGE   jim@example.net",
    ]


def test_sizes_may_be_in_other_units(run: Run) -> None:
    for unit, shown in [("bytes", b" 2097152  1048576 "), ("KIB", b" 2048.0 KiB  1024.0 KiB ")]:
        assert shown in run("user.jane", "--unit", unit)[1]


def test_over_are_those_whose_mail_is_refused(names: Names) -> None:
    assert names("--over") == OVER
    dump = b"user.a\t%(S (0 1) M (5 5))\nuser.b\t%(S (0 1) M (4 5))\n"
    assert names("--over", dump=dump) == []
    assert names("--over", "--policy", "lmtpd-strict", dump=dump) == ["user.a"]


def test_near_is_from_the_share_on_and_above(names: Names) -> None:
    """0.9 MiB are 943718.4 bytes."""
    near = ["user.jane", "user.bob", "user.eve", "user.eve.archive", "user.jim@example^net"]
    assert names("--near", "90%") == near
    assert names("--near", "90") == near
    assert names("--near", "89.99%") == ["user.jane", "user.max", *near[1:]]
    assert names("--near", "100%", "user.eve*") == ["user.eve", "user.eve.archive"]


def test_near_has_those_within_the_reserve_too(names: Names) -> None:
    assert names("--near", "100%", "--reserve", "103K", "user.*o*") == ["user.bob"]
    assert names("--over", "--reserve", "103K") == OVER


def test_jsonl_says_what_is_near_by_either_option(run: Run) -> None:
    for options in (("--near", "90%"), ("--reserve", "103K")):
        (line,) = run("bob", "--format", "jsonl", *options)[1].splitlines()
        assert json.loads(line)["near"] == ["STORAGE"]
    (line,) = run("bob", "--format", "jsonl")[1].splitlines()
    assert json.loads(line)["near"] == []


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["nobody"], ["no quota root matches 'nobody'"]),
        (["jane", "nobody", "max"], ["no quota root matches 'nobody'"]),
        (["z*", "x*"], ["no quota root matches 'z*'", "no quota root matches 'x*'"]),
        (["--over", "boss"], ["no quota root that is over matches 'boss'"]),
        (["--over", "--sort", "use", "boss"], ["no quota root that is over matches 'boss'"]),
        (["--near", "90%", "boss"], ["no quota root that is over or near matches 'boss'"]),
        (["--domain", "example.com"], ["no quota root in the domain 'example.com'"]),
        (
            ["--domain", "example.org", "bob"],
            ["no quota root in the domain 'example.org'"],
        ),
        (
            ["--domain", "example.org", "jane", "bob"],
            ["no quota root in the domain 'example.org' matches 'bob'"],
        ),
        (["jane"], []),
        (["--domain", "EXAMPLE.org", "J*"], []),
    ],
)
@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_pattern_that_nothing_matches_is_reported(
    arguments: list[str], reported: list[str], form: str, run: Run
) -> None:
    status, _, err = run("--format", form, *arguments)
    assert (status, err.splitlines()) == (0, [f"cyrusquota: {line}" for line in reported])


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
@pytest.mark.parametrize("order", ["source", "use"])
def test_a_source_of_bad_records_alone_is_65(form: str, order: str, run: Run) -> None:
    dump = b"user.jane\tgarbage\nuser.max\tgarbage\n"
    status, out, err = run("--format", form, "--sort", order, dump=dump)
    assert (status, out, err.count("\n")) == (65, b"", 1)
    assert "not one record of it can be read" in err


@pytest.mark.parametrize("share", ["", "0", "101%", "-5", "90 %", "x", "1e1", "\u0669"])
def test_a_share_that_is_none_is_64(share: str, run: Run) -> None:
    status, out, err = run("--near", share)
    assert (status, out) == (64, b"")
    assert "--near: expected a percentage of the limit such as 90%" in err


@pytest.mark.parametrize(("share", "meant"), [("0.9", "90%"), ("0.25", "25%"), ("0.005", "0.5%")])
def test_a_fraction_is_not_taken_for_a_percentage(share: str, meant: str, run: Run) -> None:
    status, out, err = run("--near", share)
    assert (status, out) == (64, b"")
    assert f"write {meant}, or {share}% if that is meant" in err
    assert run("--near", f"{share}%")[0] == 0


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["jane"], ["user.jane", "example.org!user.jane"]),
        (["JA*"], ["user.jane", "example.org!user.jane"]),
        (["*@example.org"], ["example.org!user.jane"]),
        (["ji?@example.net"], ["user.jim@example^net"]),
        (["jim"], ["user.jim@example^net"]),
        (["eve"], ["user.eve", "user.eve.archive"]),
        (["user.eve"], ["user.eve"]),
        (["[mb]*x", "boss"], ["user.max", "user.boss"]),
        (["nobody"], []),
    ],
)
def test_patterns_are_for_users_addresses_and_roots(
    patterns: list[str], found: list[str], names: Names
) -> None:
    assert names(*patterns) == found


def test_domains(names: Names, tmp_path: Path) -> None:
    assert names("--domain", "Example.ORG") == ["example.org!user.jane"]
    both = ["example.org!user.jane", "user.jim@example^net"]
    assert names("--domain", "example.org", "--domain", "example.net") == both
    assert len(names("--domain", "")) == 6
    conf = tmp_path / "imapd.conf"
    conf.write_text("virtdomains: on\ndefaultdomain: example.com\n")
    options = ("-C", str(conf), "--no-mailboxes")
    assert len(names("--domain", "example.com", *options)) == 6
    assert names("bo*@example.com", *options) == ["user.bob", "user.boss"]


def test_sorted_by_use_the_fullest_comes_first_and_the_unlimited_last(names: Names) -> None:
    assert names("--sort", "use") == [
        "user.jane",
        "user.eve",
        "user.jim@example^net",
        "user.eve.archive",
        "user.bob",
        "user.max",
        "example.org!user.jane",
        "user.boss",
    ]


@pytest.mark.parametrize("policy", ["lmtpd", "lmtpd-strict", "smmapd"])
def test_over_are_the_same_in_whatever_order_they_come(policy: str) -> None:
    """Sorted, only those that are full are taken out of the database, by other means."""
    options = ("--over", "--policy", policy, "--format", "jsonl", "--reserve", "10%")
    found = [_printed(*options, "--sort", order) for order in ("source", "name", "use")]
    lines, by_name, by_use = map(sorted, found)
    assert len(lines) > 10
    assert lines == by_name == by_use


def _printed(*options: str) -> list[str]:
    command = [sys.executable, "-m", "cyrusquota.cli", "list", "--db", str(DATABASE), *options]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()


def test_sorted_by_name_domains_stay_together(names: Names) -> None:
    assert names("--sort", "name") == [
        "user.bob",
        "user.boss",
        "user.eve",
        "user.eve.archive",
        "user.jane",
        "user.max",
        "user.jim@example^net",
        "example.org!user.jane",
    ]


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_where_there_is_nothing_to_show_nothing_is_printed(form: str, run: Run) -> None:
    assert run("nobody", "--format", form)[:2] == (0, b"")


# csv


def test_csv_has_all_resources_in_bytes(run: Run) -> None:
    out = run("eve", "--format", "csv", "--near", "100%")[1]
    assert out == (
        b"root,storage_used,storage_limit,message_used,message_limit,annotation_storage_used,"
        b"annotation_storage_limit,mailbox_used,mailbox_limit,storage_enforced,message_enforced,"
        b"exact,over,near\r\n"
        b"user.eve,10240,1048576,11,10,0,,0,,,,yes,MESSAGE,\r\n"
        b"user.eve.archive,1048576,1048576,0,,0,,0,,,,yes,,STORAGE\r\n"
    )


def test_csv_says_where_usage_was_cut(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.write_text("   Quota   % Used     Used Root\n       1      100        1 user.jane\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        out = run_report(patch, "report")
    assert next(csv.DictReader(io.StringIO(out)))["exact"] == "no"


def run_report(patch: pytest.MonkeyPatch, report: str) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    patch.setattr(sys, "stdout", out)
    patch.setattr(sys, "argv", ["cyrusquota", "list", "--quota-output", report, "--format", "csv"])
    with pytest.raises(SystemExit):
        main.main()
    raw = out.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()


def test_names_that_are_not_utf8_survive_csv(run: Run) -> None:
    dump = b'user.m\xfcller\t1 1\nuser.caf\xc3\xa9, "jr"\t1 1\n'
    out = run("--format", "csv", dump=dump)[1]
    rows = list(csv.DictReader(io.StringIO(out.decode("utf-8", "surrogateescape"), newline="")))
    assert [row["root"] for row in rows] == ["user.m\udcfcller", 'user.caf\u00e9, "jr"']


# Terminals


@pytest.fixture
def dump(tmp_path: Path) -> str:
    path = tmp_path / "dump"
    path.write_bytes(DUMP + b"user.\x1b[31m\x07red" + b"x" * 100 + b"\t1 1\n")
    return str(path)


def test_a_terminal_gets_colours_and_no_line_wider_than_it(dump: str) -> None:
    status, shown = on_terminal("list", "--dump", dump, columns=60)
    lines = shown.splitlines()
    assert status == 0
    assert len(lines) == 10
    assert lines[1].startswith("\x1b[31m200%  over") and lines[1].endswith("\x1b[0m")
    assert "\x1b" not in lines[2]
    # The last root has a name that would colour what follows and ring the bell.
    assert lines[9].count("\x1b") == 0
    assert lines[9].endswith("user.\\x1\u2026xxxxxxxx")
    assert len(lines[9]) == 60


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_may_be_refused(environment: dict[str, str], dump: str) -> None:
    assert "\x1b" not in on_terminal("list", "--dump", dump, environment=environment)[1]


def test_csv_on_a_terminal_is_harmless(dump: str) -> None:
    assert "\x1b" not in on_terminal("list", "--dump", dump, "--format", "csv")[1]


def test_columns_count_in_a_pipe_if_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert max(map(len, run()[1].decode().splitlines())) <= 20


# Totals and memory


def test_totals_decide_where_they_count(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Cyrus, jane's 3 messages of 2 MiB are one of half a MiB in conversations."""
    conf, mailboxes = tmp_path / "imapd.conf", tmp_path / "mailboxes"
    conf.write_text(f"configdirectory: {tmp_path}\nquota_use_conversations: yes\n")
    mailboxes.write_bytes(b"user.jane\t0 default jane\tlrs\t\n")
    totals = conversations.Totals(messages=1, size=MIB // 2)
    monkeypatch.setattr(conversations, "totals", lambda path: totals)
    options = ("-C", str(conf), "--mailboxes", str(mailboxes), "user.jane")
    assert b"50%         512.0 KiB  1.0 MiB " in run(*options)[1]
    assert run(*options, "--over")[1] == b""
    (row,) = csv.DictReader(io.StringIO(run(*options, "--format", "csv")[1].decode()))
    assert (row["storage_used"], row["storage_enforced"]) == ("2097152", "524288")
    assert (row["message_used"], row["message_enforced"]) == ("3", "1")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_in_the_order_of_the_source_no_root_is_kept(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five megabytes of names, of which only some hundred lines are ever in memory."""
    path = tmp_path / "dump"
    with path.open("wb") as dump:
        for number in range(5_000):
            dump.write(b"user.u%d%s\t1 1\n" % (number, b"x" * 1_000))
    monkeypatch.setattr(sys, "argv", ["", "list", "--dump", str(path), "--format", form])
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        try:
            with pytest.raises(SystemExit):
                main.main()
            assert tracemalloc.get_traced_memory()[1] < 3 * MIB
        finally:
            tracemalloc.stop()
