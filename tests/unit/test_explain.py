"""One user explained, without servers: who is meant, what is said, and where the three differ."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Optional

import pytest
from click.testing import CliRunner, Result

from cyrusquota.cli.main import cyrusquota
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import Naming
from cyrusquota.display.sizes import duration
from cyrusquota.explain.names import inbox_names, nearest, shared_folder

OFF = Naming(virtdomains=False)
ON = Naming(virtdomains=True, defaultdomain="example.net")
UNKNOWN = Naming()
CASEFUL = Naming(virtdomains=False, downcase=False)


@pytest.mark.parametrize(
    ("asked", "naming", "names"),
    [
        ("jane", OFF, ["user.jane"]),
        ("Jane", OFF, ["user.jane"]),
        ("Jane", CASEFUL, ["user.Jane"]),
        ("jane.doe+sent", OFF, ["user.jane^doe"]),
        ('"jane doe"@example.org', ON, ["example.org!user.jane doe"]),
        ("user.jane", OFF, ["user.jane", "user.user^jane"]),
        ("user.jane.Sent", OFF, ["user.jane", "user.user^jane^sent"]),
        ("user/jane.doe", OFF, ["user.jane^doe", "user.user/jane^doe"]),
        ("jane@example.net", ON, ["user.jane"]),
        ("jane@example.org", ON, ["example.org!user.jane"]),
        ("jane@Example.Org", ON, ["example.org!user.jane"]),
        ("jane@example.org", OFF, ["user.jane", "user.jane@example^org"]),
        (
            "jane@example.org",
            UNKNOWN,
            ["example.org!user.jane", "user.jane", "user.jane@example^org"],
        ),
        ("example.org!user.jane", ON, ["example.org!user.jane", "user.example^org!user^jane"]),
        (
            "user.max@example.org",
            ON,
            ["example.org!user.user^max", "example.org!user.max"],
        ),
        ("", OFF, []),
        ("@example.org", ON, []),
        ("+folder@example.org", ON, []),
    ],
)
def test_what_a_name_can_mean(asked: str, naming: Naming, names: list[str]) -> None:
    assert list(inbox_names(asked, naming)) == names


def test_the_nearest_names_are_offered_as_addresses() -> None:
    users = ["user.jane", "example.org!user.james", "user.bob", "user.j^doe", "user.Jame"]
    assert nearest("jame", users, ON) == ["Jame", "james@example.org", "jane@example.net"]
    assert nearest("zacharias", users, ON) == []


def test_spans_are_said_in_two_units() -> None:
    said = [duration(seconds) for seconds in (0, 1, 59.6, 61, 3600, 3661, 90000, 172800, -5)]
    assert said == [
        "0 seconds",
        "1 second",
        "1 minute",
        "1 minute",
        "1 hour",
        "1 hour 1 minute",
        "1 day 1 hour",
        "2 days",
        "-5 seconds",
    ]


FULL = "%(S (20971520 10240) M (3) AS (0) NF (1))"
GOOD = "%(S (1048576 10240) M (3 100) AS (0) NF (1))"


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "dump"
    path.write_text(
        f"user\t{FULL}\nuser.bob\t{GOOD}\nuser.jane\t{FULL}\nuser.odd\tnonsense\nuser.Up\t{GOOD}\n"
    )
    return path


@pytest.fixture
def overquota(tmp_path: Path) -> Path:
    path = tmp_path / "overquota"
    path.write_text(
        "# Written by cyrusquota-export 0.1.0; do not edit, the next run replaces it.\n"
        "# source: somewhere\n# since: 2026-01-31T12:00:00+0100\n# roots: 5\n# entries: 1\n"
        "# near: 0\njane: :defer: 4.2.2 Full\n"
    )
    return path


def _explain(dump: Path, overquota: Path, *arguments: str) -> Result:
    words = ["explain", "--dump", str(dump), "--map", str(overquota), "--no-exim", *arguments]
    return CliRunner().invoke(cyrusquota, words)


def test_the_answer_has_the_root_its_figures_and_what_each_side_says(
    dump: Path, overquota: Path
) -> None:
    done = _explain(dump, overquota, "jane@example.net")
    assert done.exit_code == 0
    root, storage, _, _, _, lmtpd, line, *_ = done.output.splitlines()
    assert root.endswith("user.jane")
    assert re.findall(r"[\d.]+ MiB|\d+%|\d{8}", storage) == [
        *("20.0 MiB", "10.0 MiB", "200%", "20971520", "10485760", "10.0 MiB"),
    ]
    assert lmtpd.startswith("lmtpd  452 4.2.2 Over quota: STORAGE")
    assert line == "map    jane: :defer: 4.2.2 Full"


def test_strict_quotas_ask_room_for_one_more(tmp_path: Path, overquota: Path) -> None:
    dump = tmp_path / "strict"
    dump.write_text("user.jane\t%(S (0) M (100 100) AS (0) NF (1))\n")
    done = _explain(dump, overquota, "--policy", "lmtpd-strict", "jane")
    assert "  MESSAGE             100 of 100, 100%, no room for one more\n" in done.output
    assert "which requires room for one more message" in done.output
    assert "250 2.1.5 ok" in _explain(dump, overquota, "jane").output


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("bob", "They agree: mail for this user is accepted."),
        ("odd", "451 4.3.0 System I/O error: the quota root cannot be read: "),
        ("user.Up", "lmtpd  no mail can be addressed to this name: "),
    ],
)
def test_what_else_a_server_may_answer(asked: str, said: str, dump: Path, overquota: Path) -> None:
    done = _explain(dump, overquota, asked)
    assert done.exit_code == 0
    assert said in done.output


@pytest.mark.parametrize(
    ("content", "asked", "age", "what", "why"),
    [
        ("", "jane", 60, "lmtpd refuses, and the map has no entry", "became full after"),
        ("", "jane", 3000, "lmtpd refuses, and the map has no entry", "renewed 50 minutes ago"),
        ("bob: :defer: x\n", "bob", 60, "lmtpd accepts, and the map has an entry", "has made room"),
        ("odd: :defer: x\n", "odd", 60, "the map has an entry, and lmtpd answers", "renewed 1 min"),
        ("jane: :defer: x\n", "jane", 9000, "the map is too old for the router", "2 hours 30"),
    ],
)
def test_each_difference_has_its_reason(
    content: str, asked: str, age: int, what: str, why: str, dump: Path, overquota: Path
) -> None:
    header = [line for line in overquota.read_text().splitlines() if line.startswith("#")]
    overquota.write_text("\n".join([*header[:-2], content]))
    then = overquota.stat().st_mtime - age
    os.utime(overquota, (then, then))
    found = json.loads(_explain(dump, overquota, asked, "--format", "json").output)
    assert not found["agree"]
    (difference,) = found["differences"]
    assert difference["what"].startswith(what)
    assert why in difference["why"]
    assert difference["do"]


def test_a_user_within_the_reserve_may_be_in_the_map(dump: Path, overquota: Path) -> None:
    text = overquota.read_text().replace("near: 0", "near: 1").replace("jane:", "bob:")
    overquota.write_text(text)
    assert "--reserve" in _explain(dump, overquota, "bob").output


def test_what_is_left_is_no_refusal(dump: Path, overquota: Path) -> None:
    overquota.write_text(overquota.read_text().replace("jane: :defer: 4.2.2 Full", "bob: free=5"))
    assert "They agree: mail for this user is accepted." in _explain(dump, overquota, "bob").output


def test_an_unknown_user_has_an_exit_status_of_his_own(dump: Path, overquota: Path) -> None:
    done = _explain(dump, overquota, "nobody@example.net")
    assert getattr(done.exception, "exit_status", None) == 67
    assert "user.nobody" in str(done.exception)


def test_no_exim_goes_with_nothing_that_names_one(dump: Path, overquota: Path) -> None:
    done = _explain(dump, overquota, "--exim", "/usr/sbin/exim4", "jane")
    assert getattr(done.exception, "exit_status", None) == 64


@pytest.mark.parametrize(
    ("asked", "options", "name"),
    [
        ("+news@example.net", {}, "news"),
        ("+news", {}, "news"),
        ("+News.Old@example.net", {"unixhierarchysep": "no"}, "News.Old"),
        ("+a/b.c@example.net", {"unixhierarchysep": "yes"}, "a.b^c"),
        ("Shared+news@example.net", {"postuser": "shared"}, "news"),
        ("+news@Example.org", {"virtdomains": "on", "defaultdomain": "a"}, "example.org!news"),
        ("+news@example.org", {"virtdomains": "on", "defaultdomain": "example.org"}, "news"),
        ("+news@example.net", {"postuser": "shared"}, None),
        ("shared+news@example.net", {}, None),
        ("shared@example.net", {"postuser": "shared"}, None),
        ("+@example.net", {}, None),
        ("Shared+news@x", {"postuser": "shared", "lmtp_downcase_rcpt": "no"}, None),
    ],
)
def test_an_address_of_postuser_is_a_shared_folder(
    asked: str, options: dict[str, str], name: Optional[str]
) -> None:
    assert shared_folder(asked, ImapdConf("imapd.conf", options)) == name


def test_a_map_from_the_future_is_said_to_be_so(dump: Path, overquota: Path) -> None:
    then = time.time() + 86_430
    os.utime(overquota, (then, then))
    said = _explain(dump, overquota, "jane").output
    assert "renewed 1 day in the future: check the clock" in said
    assert "-1 day" not in said
