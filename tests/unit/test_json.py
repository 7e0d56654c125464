"""Commands that print for people print JSON too, in the shapes that docs/scripting.md has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.recorded_exim import recorded_exim
from tests.unit.programs import Program, Ran
from tools.docs import CHECKOUT

#: Jane is over in STORAGE (limit 1 KiB), the domain's root governs itself, max has no limit.
_DUMP = (
    b"example.org!user.jane\t2000 1\n"
    b"user.max\t1000 -1\n"
    b"user.ann\t%(S (950 1) M (3 10))\n"
    b"example.org!\t10 5\n"
)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a dump and a map, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump").write_bytes(_DUMP)
    (tmp_path / "imapd.conf").write_text("configdirectory: /nonexistent\n")
    return tmp_path


def _documented(command: str) -> set[str]:
    """Return the members that docs/scripting.md has for a command."""
    text = (CHECKOUT / "docs" / "scripting.md").read_text("utf-8")
    table = text.split(f"**`{command}", 1)[1].split("\n\n")[1]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


def _object(done: Ran, command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    assert found.pop("version") == 1
    assert {*found} == _documented(command)
    return found


def test_report(run: Program) -> None:
    done = run("report", "--dump", "dump", "--top", "2", "--reserve", "10%", "--format", "json")
    assert (done.status, done.err) == (0, "")
    found = _object(done, "cyrusquota report")
    assert (found["source"], found["policy"], found["problems"]) == ("dump", "lmtpd", 0)
    assert found["roots"] == {"all": 4, "unlimited": 1, "over": 1, "near": 1}
    assert (found["inboxes"], found["refused"], found["reserved"]) == (None, 1, 1)
    assert found["storage"] == {
        "roots": 4,
        "users": 3,
        "over": 1,
        "unlimited": 1,
        "used": 3960,
        "used_unlimited": 1000,
        "limits": 1024 * 7,
    }
    assert found["resources"] == {
        "STORAGE": {"limited": 3, "near": 1, "over": 1},
        "MESSAGE": {"limited": 1, "near": 0, "over": 0},
    }
    assert [step["roots"] for step in found["histogram"]] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert [one["domain"] for one in found["domains"]] == ["example.org", None]
    assert found["fullest"] == [
        {
            "root": "example.org!user.jane",
            "address": "jane@example.org",
            "resource": "STORAGE",
            "used": 2000,
            "limit": 1024,
        },
        {
            "root": "user.ann",
            "address": "ann",
            "resource": "STORAGE",
            "used": 950,
            "limit": 1024,
        },
    ]
    assert found["users_refused"] == [
        {
            "address": "jane@example.org",
            "root": "example.org!user.jane",
            "over": [{"resource": "STORAGE", "used": 2000, "limit": 1024}],
            "certain": True,
        }
    ]


def test_list(run: Program) -> None:
    lines = run("list", "--dump", "dump", "--format", "jsonl").out.splitlines()
    found = [json.loads(line) for line in lines]
    assert all({*one} == _documented("cyrusquota list") for one in found)
    assert [(one["root"], one["address"]) for one in found] == [
        ("example.org!user.jane", "jane@example.org"),
        ("user.max", "max"),
        ("user.ann", "ann"),
        ("example.org!", None),
    ]


def test_check(run: Program) -> None:
    done = run(
        "check",
        "--no-map",
        "--dump",
        "dump",
        "-w",
        "0",
        "-c",
        "over_percent=50",
        "--format",
        "json",
    )
    assert (done.status, done.err) == (1, "")
    found = _object(done, "cyrusquota check")
    assert found["status"] == "WARNING"
    assert found["text"].startswith("1 of 3 users over quota (33.33%) [warning: over ")
    assert found["measures"]["over"] == {
        "value": 1,
        "unit": "",
        "warning": "0",
        "critical": None,
    }
    assert found["measures"]["over_percent"]["critical"] == "50"


@pytest.mark.parametrize(
    "wrong", [("--dump", "gone"), ("-w", "speed=1"), ("--nonsense",), ("--db", "a", "--dump", "b")]
)
def test_a_check_that_fails_is_an_object_too(wrong: tuple[str, ...], run: Program) -> None:
    for arguments in (("--format", "json", *wrong), (*wrong, "--format", "json")):
        done = run("check", *arguments)
        assert (done.status, done.err) == (3, "")
        found = _object(done, "cyrusquota check")
        assert (found["status"], found["measures"]) == ("UNKNOWN", {})


def test_doctor(run: Program) -> None:
    done = run("doctor", "-C", "imapd.conf", "--no-exim", "--root", ".", "--format", "json")
    found = _object(done, "cyrusquota doctor")
    assert (done.status, found["severity"]) == (2, "error")
    assert {*found["findings"][0]} == {"id", "severity", "said", "do", "commands", "held_back"}


def test_explain(run: Program) -> None:
    done = run("explain", "--dump", "dump", "--no-exim", "--format", "json", "jane@example.org")
    found = _object(done, "cyrusquota explain")
    assert (done.status, found["address"]) == (0, "jane@example.org")
    assert found["root"] == "example.org!user.jane"
    assert (found["agree"], found["exim"], found["route"]) == (False, None, None)
    assert {*found["verdict"]} == {"outcome", "level", "text"}
    assert {*found["differences"][0]} == {"what", "why", "do", "commands"}


def test_explain_has_the_same_members_for_a_list(run: Program, site: Path) -> None:
    exim = recorded_exim(site, "plain", site / "map")
    found = _object(
        run("explain", "--dump", "dump", "--exim", exim, "--format", "json", "staff"),
        "cyrusquota explain",
    )
    assert {*found["route"][0]} == {
        *("target", "aliases", "router", "transport", "to_cyrus", "problem", "reply"),
    }
    assert {*found["exim"]} == {
        *("address", "outcome", "text", "router", "map", "keys", "problem"),
    }


def test_dry_run(run_export: Program, site: Path) -> None:
    (site / "map").write_bytes(run_export("--dump", "dump").out.encode())
    (site / "dump").write_bytes(b"user.max\t2000 1\n")
    done = run_export("--dump", "dump", "-o", "map", "-n", "--format", "json")
    text = ": :defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
    assert _object(done, "cyrusquota-export --dry-run") == {
        "map": "map",
        "added": [f"max{text}"],
        "removed": [f"jane@example.org{text}"],
        "kept": 0,
        "held_back": None,
    }
    (site / "dump").write_bytes(b"".join(b"user.u%d\t2000 1\n" % n for n in range(30)))
    done = run_export("--dump", "dump", "-o", "map", "-n", "--format", "json")
    assert "30 entries would be added to the 1 in place" in json.loads(done.out)["held_back"]


def test_settings(run: Program, site: Path) -> None:
    (site / "conf").write_text("[list]\nsort = use\n")
    found = _object(run("settings", "--settings=conf", "--format", "json"), "cyrusquota settings")
    assert found["file"] == "conf"
    assert found["commands"]["list"]["sort"] == {"value": "use", "section": "list", "line": 2}
    assert found["commands"]["list"]["over"] == {"value": False, "section": None, "line": None}
