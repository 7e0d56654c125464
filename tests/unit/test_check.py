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
    """Run `cyrusquota check` on a host without a map."""
    return program(capfdbinary, monkeypatch, "check", "--no-map")


@pytest.fixture
def check_map(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Program:
    """Run `cyrusquota check` beside a map, of which there may be none."""
    return program(capfdbinary, monkeypatch, "check", "--map", str(tmp_path / "map"))


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
    age: int, status: int, words: str, check_map: Program, tmp_path: Path
) -> None:
    written(tmp_path / "map", age)
    done = check_map("--dump", "-", stdin=THREE)
    assert done.status == status
    # A second may pass.
    assert words.replace("42", "43") in done.out or words in done.out
    assert "s;;7200 map_entries=1;;;0 held_back=0;0;;0;1 problems=0" in done.out
    assert check_map("--dump", "-", "-c", "map_age=~:", stdin=THREE).status == 0


def test_the_usual_map_is_that_of_the_router(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = program(capfdbinary, monkeypatch, "check")("--help")
    assert "[default: /var/lib/cyrusquota/overquota]" in " ".join(done.out.split())


def test_too_few_entries(check_map: Program, tmp_path: Path) -> None:
    written(tmp_path / "map", 1)
    done = check_map("--dump", "-", "-w", "map_entries=10:", stdin=THREE)
    assert done.status == 1
    assert ", entries in the map: 1 [warning: map_entries below 10] |" in done.out


@pytest.mark.parametrize("options", [(), ("-w", "map_age=60"), ("-c", "map_age=~:")])
def test_a_missing_map_is_critical(
    options: tuple[str, ...], check_map: Program, tmp_path: Path
) -> None:
    done = check_map("--dump", "-", *options, stdin=THREE)
    assert done.status == 2
    assert f", critical: {tmp_path}/map: there is no map; write it: " in done.out
    assert "map_age=U;" in done.out
    assert " map_entries=U;;;0 held_back=U;0;;0;1\n" in done.out


def test_a_host_without_a_map_says_so(check_map: Program) -> None:
    done = check_map("--dump", "-", "--no-map", stdin=THREE)
    assert (done.status, "map" in done.out) == (0, False)


@pytest.mark.parametrize("measure", ["map_age", "map_entries", "held_back"])
def test_a_measure_of_the_map_needs_one(measure: str, check: Program) -> None:
    done = check("--dump", "-", "-w", f"{measure}=5", stdin=THREE)
    assert done.status == 3
    assert f"the measure {measure} needs the map; leave out --no-map" in done.out


# --- the next map ---

#: 30 users are full, of whom one is in the map.
MANY = b"".join(b"user.u%d\t2000 1\n" % number for number in range(29)) + b"user.jane\t2000 1\n"
HELD = (
    "the next map is held back{}: 29 entries would be added to the 1 in place and 0 removed, more"
    " than --max-change added=20%,20 allows; `cyrusquota doctor` says more"
)


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        ((), 1, " [warning: held_back above 0]"),
        (("-c", "held_back=0"), 2, " [critical: held_back above 0]"),
        (("-w", "held_back=1"), 0, ""),
    ],
)
def test_a_map_that_is_held_back_warns_or_worse(
    options: tuple[str, ...], status: int, why: str, check_map: Program, tmp_path: Path
) -> None:
    written(tmp_path / "map", 1)
    done = check_map("--dump", "-", *options, stdin=MANY)
    assert (done.status, done.err) == (status, "")
    assert HELD.format(why) in done.out
    assert " held_back=1;" in done.out


def test_a_source_without_quotas_is_held_back(check_map: Program, tmp_path: Path) -> None:
    written(tmp_path / "map", 1, MAP.replace(b"roots: 3", b"roots: 10"))
    (tmp_path / "quotas.db").write_bytes(b"")
    done = check_map("--db", str(tmp_path / "quotas.db"), "--backend", "flat")
    assert done.status == 1
    assert "has no quota roots, and the map in place came from 10" in done.out


@pytest.mark.parametrize(
    "options",
    [
        ("--max-change", "100%,30"),
        *[tuple(word for n in range(10) for word in ("--exempt", f"u{n}"))],
    ],
)
def test_the_guard_is_asked_with_the_options_of_the_export(
    options: tuple[str, ...], check_map: Program, tmp_path: Path
) -> None:
    written(tmp_path / "map", 1)
    done = check_map("--dump", "-", *options, stdin=MANY)
    assert done.status == 0
    assert " held_back=0;" in done.out


def test_users_within_the_headroom_are_not_near(check_map: Program, tmp_path: Path) -> None:
    """But they are in the map, and in the one that comes next."""
    near = b"".join(b"user.u%d\t100 1\n" % number for number in range(25))
    free = b"".join(b"u%d: free=924\n" % number for number in range(25))
    written(tmp_path / "map", 1, MAP + free)
    options = ("--headroom", "1K", "--reserve", "1%", "-w", "near=0")
    done = check_map("--dump", "-", *options, stdin=near + THREE)
    assert (done.status, done.err) == (0, "")
    assert " near=0;0;;0;28 " in done.out
    assert " held_back=0;" in done.out


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


@pytest.mark.parametrize(
    ("path", "why"), [(__file__, "was not written by this program"), ("/", "is not a plain file")]
)
def test_a_file_that_is_no_map_is_unknown(path: str, why: str, check_map: Program) -> None:
    done = check_map(*DB, "--map", path)
    assert (done.status, done.err) == (3, "")
    assert why in done.out


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


def test_a_map_from_the_future_is_said_to_be_so(check_map: Program, tmp_path: Path) -> None:
    written(tmp_path / "map", -4 * 86_400 - 60)
    done = check_map("--dump", "-", stdin=THREE)
    assert done.status == 2
    assert "map from the future, by 4 days: check the clock [critical: map_age" in done.out
