"""cyrusquota check: what a monitoring system is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.recorded_fixtures import FIXTURES, TWOSKIP
from tests.unit.programs import Program, program

DB = ("--db", str(TWOSKIP / "quotas.db"))
BAD_VALUES = ("--db", str(FIXTURES / "badvalues" / "twoskip" / "quotas.db"))
THREE = b"user.jane\t2000 1\nuser.bob\t1000 1\nuser.max\t5 1\nshared\t5 1\n"
MAP = b"# Written by cyrusquota-export 0.1.0\n# roots: 3\n# entries: 1\njane: :defer: full\n"


@pytest.fixture
def check(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Program:
    """Run `cyrusquota check` where no map is in the usual place."""
    monkeypatch.setattr("cyrusquota.cli.check.DEFAULT_PATH", str(tmp_path / "usual"))
    return program(capfdbinary, monkeypatch, "check")


def written(path: Path, age: int, content: bytes = MAP) -> str:
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))
    return str(path)


def test_all_is_well(check: Program) -> None:
    done = check("--dump", "-", stdin=THREE)
    assert (done.status, done.err) == (0, "")
    assert done.out == (
        "CYRUSQUOTA OK - 1 of 3 users over quota (33.33%)"
        " | over=1;;;0;3 over_percent=33.33%;;;0;100 problems=0;0;;0\n"
    )


def test_nobody_is_no_percent_of_nobody(check: Program) -> None:
    done = check("--dump", "-", stdin=b"shared\t5 1\n")
    assert done.out.startswith("CYRUSQUOTA OK - 0 of 0 users over quota (0.00%) | over=0;;;0;0 ")


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (("-w", "0"), 1, " [warning: over above 0]"),
        (("-w", "over=0"), 1, " [warning: over above 0]"),
        (
            ("-w", "0", "-c", "over_percent=33"),
            2,
            " [warning: over above 0, critical: over_percent above 33]",
        ),
        (("-c", "@1:5"), 2, " [critical: over inside 1:5]"),
        (("-w", "2", "-w", "over=0"), 1, " [warning: over above 0]"),
        (("-w", "1", "-c", "over_percent=33.4"), 0, ""),
    ],
)
def test_ranges_decide(options: tuple[str, ...], status: int, why: str, check: Program) -> None:
    done = check("--dump", "-", *options, stdin=THREE)
    assert done.status == status
    state = ("OK", "WARNING", "CRITICAL")[status]
    assert f"CYRUSQUOTA {state} - 1 of 3 users over quota (33.33%){why} |" in done.out


def test_near_counts_by_the_reserve(check: Program) -> None:
    done = check("--dump", "-", "--reserve", "10%", "-w", "near=0", stdin=THREE)
    assert done.status == 1
    assert ", 1 near it [warning: near above 0] | over=1;;;0;3 " in done.out
    assert " near=1;0;;0;3 " in done.out


@pytest.mark.parametrize(
    ("age", "status", "words"),
    [
        (42, 0, "map 42 s old"),
        (600, 0, "map 10 min old"),
        (10_900, 2, "map 3 h old [critical: map_age above 7200]"),
        (400_000, 2, "map 4 days old [critical: map_age above 7200]"),
    ],
)
def test_a_map_that_the_router_does_not_believe_is_critical(
    age: int, status: int, words: str, check: Program, tmp_path: Path
) -> None:
    done = check("--dump", "-", "--map", written(tmp_path / "map", age), stdin=THREE)
    assert done.status == status
    # A second may pass.
    assert words.replace("42", "43") in done.out or words in done.out
    assert "s;;7200 map_entries=1;;;0 problems=0" in done.out


def test_the_usual_map_is_looked_at_if_it_is_there(check: Program, tmp_path: Path) -> None:
    written(tmp_path / "usual", 8000)
    assert check("--dump", "-", stdin=THREE).status == 2
    assert check("--dump", "-", "-c", "map_age=~:", stdin=THREE).status == 0


def test_too_few_entries(check: Program, tmp_path: Path) -> None:
    path = written(tmp_path / "map", 1)
    done = check("--dump", "-", "--map", path, "-w", "map_entries=10:", stdin=THREE)
    assert done.status == 1
    assert ", entries in the map: 1 [warning: map_entries below 10] |" in done.out


@pytest.mark.parametrize("options", [("--map", "MISSING"), ("-w", "map_age=60")])
def test_a_missing_map_is_critical(
    options: tuple[str, ...], check: Program, tmp_path: Path
) -> None:
    options = tuple(option.replace("MISSING", str(tmp_path / "usual")) for option in options)
    done = check("--dump", "-", *options, stdin=THREE)
    assert done.status == 2
    assert f", critical: {tmp_path}/usual: there is no map; write it: " in done.out
    assert "map_age=U;" in done.out


def test_problems_warn_and_the_first_is_told(check: Program) -> None:
    done = check(*BAD_VALUES)
    assert (done.status, done.err) == (1, "")
    assert "1 of 2 users over quota" in done.out
    assert "4 problems, the first [warning: problems above 0]: " in done.out
    assert done.out.endswith(" problems=4;0;;0\n")
    assert check(*BAD_VALUES, "-w", "problems=4").status == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--db", "/nonexistent/quotas.db"), "/nonexistent/quotas.db: no such file"),
        (("-C", "/nonexistent/imapd.conf"), "/nonexistent/imapd.conf: cannot be read"),
        (("--db", str(FIXTURES / "crash" / "twoskip" / "cut-half.db")), "cut-half.db, offset 48"),
        ((*DB, "--quota-output", "-"), "exclude one another"),
        ((*DB, "--bogus"), "--bogus"),
        ((*DB, "--reserve"), "--reserve"),
        ((*DB, "extra"), "extra"),
        ((*DB, "-w", "wrong=1"), "-w: unknown measure 'wrong'; choose from over, over_percent,"),
        ((*DB, "-c", "over=1:2:3"), "-c over=1:2:3: expected a range such as"),
        ((*DB, "-c", "near=1"), "near needs --reserve"),
        ((*DB, "--map", __file__), "was not written by this program"),
        ((*DB, "--map", "/"), "is not a plain file"),
        (("--dump", "-"), "not one record of it can be read"),
    ],
)
def test_whatever_goes_wrong_is_unknown(options: tuple[str, ...], why: str, check: Program) -> None:
    done = check(*options, stdin=b"garbage|\n")
    assert (done.status, done.err) == (3, "")
    assert done.out.startswith("CYRUSQUOTA UNKNOWN - ")
    assert why in done.out
    assert done.out.count("\n") == 1
    assert "|" not in done.out


def test_a_mistake_of_ours_is_unknown(check: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("this | that\nand more")

    monkeypatch.setattr("cyrusquota.cli.check.scan", broken)
    done = check(*DB)
    assert (done.status, done.err) == (3, "")
    assert done.out == (
        "CYRUSQUOTA UNKNOWN - internal error, please report it:"
        r" ZeroDivisionError: this \x7c that\nand more" + "\n"
    )


def test_an_answer_that_nobody_takes_is_unknown() -> None:
    program = "from cyrusquota.cli.main import main; main()"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "check", *DB, "--map", "/"],
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (3, b"")


def test_help_is_help(check: Program) -> None:
    done = check("--help")
    assert done.status == 0
    assert "--critical" in done.out


def test_users_are_those_with_an_inbox(check: Program, tmp_path: Path) -> None:
    """Where conversations totals count, the list of mailboxes is read twice, and counted once."""
    listed = tmp_path / "mailboxes"
    listed.write_text("user.jane\t0 default jane\tlrs\nuser.bob\t0 default bob\tlrs\n")
    (tmp_path / "roots").write_bytes(b"user.jane\t2000 1 M 5 4\nuser.ghost\t2000 1\n")
    source = ("--dump", str(tmp_path / "roots"), "--mailboxes", str(listed))
    assert "- 1 of 2 users over quota" in check(*source).out
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}\nquota_use_conversations: yes\n")
    assert "- 0 of 2 users over quota" in check(*source, "-C", str(conf)).out


def test_a_map_from_the_future_is_said_to_be_so(check: Program, tmp_path: Path) -> None:
    path = written(tmp_path / "map", -4 * 86_400 - 60)
    done = check("--dump", "-", "--map", path, stdin=THREE)
    assert done.status == 2
    assert "map from the future, by 4 days: check the clock [critical: map_age" in done.out
