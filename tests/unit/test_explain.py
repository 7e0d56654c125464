"""One user explained, without servers: who is meant, what is said, and where the three differ."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from click.testing import CliRunner, Result

from cyrusquota.cli.main import cyrusquota
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import Naming
from cyrusquota.display.sizes import duration
from cyrusquota.doctor.schedule import Schedule
from cyrusquota.errors import OptionError
from cyrusquota.explain.names import (
    folder_of,
    inbox_names,
    is_mailbox_name,
    nearest,
    shared_folder,
    unreachable_because,
)
from tests.site import FULL as FULL_ROW
from tests.site import GOOD as GOOD_ROW
from tests.site import HEADER, Site
from tests.unit.terminals import on_terminal


@pytest.fixture(autouse=True)
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no export be installed here, as it is beside the Python of an environment for tests."""
    name = "cyrusquota-export"
    monkeypatch.setattr("cyrusquota.doctor.export_command._program", lambda root: name)


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


@pytest.mark.parametrize(
    ("asked", "is_name"),
    [
        ("user.jane", True),
        ("user.jane.Sent", True),
        ("user/jane@example.org", True),
        ("example.org!user.jane", True),
        ("jane", False),
        ("jane.doe", False),
        ("user.jane@example.org", False),
        ("+news", False),
        ("+news/old@example.org", False),
        ("jane+a/b@example.org", False),
    ],
)
def test_the_name_of_a_mailbox_is_no_address(asked: str, is_name: bool) -> None:
    assert is_mailbox_name(asked) is is_name


@pytest.mark.parametrize(
    ("asked", "options", "folder"),
    [
        ("jane+Sent@example.org", {}, "user.jane.Sent"),
        ("jane+a/b.c", {}, "user.jane.a.b^c"),
        ("jane+a.b", {"unixhierarchysep": "no"}, "user.jane.a.b"),
        ("user/jane/Sent", {}, "user.jane.Sent"),
        ("user.jane.Sent.2020", {}, "user.jane.Sent.2020"),
        ("user.jane", {}, None),
        ("jane", {}, None),
        ("jane+@example.org", {}, None),
    ],
)
def test_a_folder_may_be_asked_about(
    asked: str, options: dict[str, str], folder: Optional[str]
) -> None:
    assert folder_of(asked, "user.jane", ImapdConf("imapd.conf", options)) == folder


def test_the_nearest_names_are_offered_as_addresses() -> None:
    users = ["user.jane", "example.org!user.james", "user.bob", "user.j^doe", "user.Jame"]
    assert nearest("jame", users, ON) == ["user.Jame", "james@example.org", "jane@example.net"]
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
    verdict, _, root, storage, _, _, _, lmtpd, line, *_ = done.output.splitlines()
    assert verdict.startswith("jane is over quota (STORAGE at 200%): Cyrus refuses their mail, and")
    assert root.endswith("user.jane")
    assert re.findall(r"[\d.]+ MiB|\d+%|\d{8}", storage) == [
        *("20.0 MiB", "10.0 MiB", "200%", "20971520", "10485760", "10.0 MiB"),
    ]
    assert lmtpd.startswith("lmtpd  452 4.2.2 Over quota: STORAGE")
    assert line == "map    jane: :defer: 4.2.2 Full"


def test_an_address_may_be_copied_from_a_log(dump: Path, overquota: Path) -> None:
    plain = _explain(dump, overquota, "jane@example.net").output
    assert _explain(dump, overquota, "<jane@example.net>").output == plain
    assert isinstance(_explain(dump, overquota, "<>").exception, OptionError)


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
        ("bob", "bob has room: Cyrus accepts their mail. What Exim does is not known: it was not"),
        ("odd", "451 4.3.0 System I/O error: the quota root cannot be read: "),
        (
            "user.Up",
            "lmtpd  no mail can be addressed to this name: it has capitals, and lmtp_downcase_rcpt"
            " is on\n",
        ),
    ],
)
def test_what_else_a_server_may_answer(asked: str, said: str, dump: Path, overquota: Path) -> None:
    done = _explain(dump, overquota, asked)
    assert done.exit_code == 0
    assert said in done.output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host where jane is full and in the map, and bob and ann have room."""
    return Site(tmp_path / "site")


def _found(site: Site, *arguments: str) -> dict[str, Any]:
    """What is found with this host's own imapd.conf and map, without Exim."""
    words = ["explain", "-C", str(site.conf), "--map", str(site.map), "--no-exim"]
    if "--settings" not in arguments:
        words += ["--settings", ""]
    words += ["--format", "json", *arguments]
    done = CliRunner().invoke(cyrusquota, words, catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _difference(site: Site, *arguments: str) -> dict[str, Any]:
    (difference,) = _found(site, *arguments)["differences"]
    assert isinstance(difference, dict)
    return difference


def _change(site: Site, **users: str) -> None:
    """Give users other quotas, behind the map's back."""
    site.users.update(users)
    site.write_users()


def test_a_user_who_became_full_is_listed_by_the_next_run(site: Site) -> None:
    _change(site, bob=FULL_ROW)
    site.age(60)
    found = _difference(site, "bob")
    assert found["what"] == "lmtpd refuses, and the map has no entry"
    assert found["why"].startswith(
        "the map was renewed 1 minute ago, without this user, and a run now lists them"
    )
    assert found["commands"] == [f"cyrusquota-export -C {site.conf} -o {site.map}"]


def test_a_user_who_has_made_room_is_left_out_by_the_next_run(site: Site) -> None:
    _change(site, jane=GOOD_ROW)
    site.age(60)
    found = _difference(site, "jane")
    assert found["what"] == "lmtpd accepts, and the map has an entry"
    assert "with this user, and a run now leaves them out" in found["why"]


def test_a_user_whose_root_cannot_be_read_is_left_out_by_the_next_run(site: Site) -> None:
    _change(site, jane="nonsense")
    found = _difference(site, "jane")
    assert found["what"] == ("the map has an entry, and lmtpd answers '451 4.3.0 System I/O error'")
    assert "a run now leaves them out" in found["why"]


def test_where_no_run_has_come_for_long_it_is_said(site: Site) -> None:
    _change(site, bob=FULL_ROW)
    site.age(3000)
    found = _difference(site, "bob")
    assert "the map was renewed 50 minutes ago, and the user became full since" in found["why"]
    assert found["commands"][0] == f"cyrusquota-export -C {site.conf} -o {site.map} -v"


def test_a_map_that_is_too_old_is_said_to_be_so(site: Site) -> None:
    site.age(9000)
    found = _difference(site, "jane")
    assert found["what"] == "the map is too old for the router"
    assert found["why"].startswith(
        "the map was renewed 2 hours 30 minutes ago, and is valid for 2 hours; "
    )


@pytest.mark.parametrize("age", [60, 9000])
def test_a_map_that_is_held_back_comes_with_the_commands_to_look_and_to_accept(
    site: Site, age: int
) -> None:
    _change(site, **{f"full{number}": FULL_ROW for number in range(30)})
    site.age(age)
    found = _difference(site, "full1")
    assert (
        "the next map is held back: 30 entries would be added to the 1 in place and 0 removed, more"
        " than --max-change added=20%,20 allows"
    ) in found["why"]
    export = f"cyrusquota-export -C {site.conf} -o {site.map}"
    assert found["commands"] == [f"{export} --dry-run", f"{export} --accept-change 30"]
    passes = _difference(site, "--max-change", "off", "full1")
    assert "held back" not in passes["why"]


@pytest.mark.parametrize(
    ("asked", "options", "why"),
    [
        ("postmaster", [], "postmaster is never listed, so that somebody can be told of trouble"),
        ("bob", ["--exempt", "BOB"], "bob is exempt (--exempt)"),
        ("bob@example.net", ["--exempt", "bob"], "bob is exempt (--exempt)"),
    ],
)
def test_a_user_who_is_never_listed_is_told_why(
    site: Site, asked: str, options: list[str], why: str
) -> None:
    _change(site, bob=FULL_ROW, postmaster=FULL_ROW)
    assert _difference(site, *options, asked)["why"] == why


def test_an_exemption_in_the_settings_file_has_its_line(site: Site) -> None:
    _change(site, bob=FULL_ROW)
    settings = site.directory / "settings"
    settings.write_text(
        f"[common]\nconfig = {site.conf}\n\n[export]\noutput = {site.map}\nexempt = bob\n"
    )
    words = ["explain", "--settings", str(settings), "--no-exim", "--format", "json", "bob"]
    found = json.loads(CliRunner().invoke(cyrusquota, words).stdout)
    assert found["differences"][0]["why"] == f"bob is exempt (exempt in {settings}, line 6)"


def test_the_options_of_the_job_that_writes_the_map_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Schedule.below
    monkeypatch.setattr(Schedule, "below", lambda root: below(site.etc.parent))
    _change(site, bob=FULL_ROW)
    assert "the user became full after the map was renewed" in _difference(site, "bob")["why"]
    site.cron(
        f"*/5 * * * * root cyrusquota-export --exempt bob --follow -o {site.map} >/dev/null\n"
    )
    crontab = site.etc / "cron.d" / "cyrusquota"
    assert _difference(site, "bob")["why"] == f"bob is exempt (--exempt in {crontab})"
    site.cron("*/5 * * * * root cyrusquota-export -o /other\n")
    site.age(3000)
    assert f"{crontab} writes /other" in _difference(site, "bob")["why"]
    site.no_schedule()
    assert "no cron job or timer runs the export" in _difference(site, "bob")["why"]


def test_a_map_from_other_data_or_by_another_policy_is_named(site: Site) -> None:
    _change(site, bob=FULL_ROW)
    text = site.map.read_text()
    site.map.write_text(text.replace(f"# source: {site.quotas}", "# source: /old/quotas.db"))
    assert _difference(site, "bob")["why"] == (
        f"the map was made from /old/quotas.db, and this is {site.quotas}"
    )
    site.map.write_text(text.replace("# policy: lmtpd", "# policy: smmapd"))
    assert _difference(site, "bob")["why"] == (
        "the map was made by the policy smmapd, and this is lmtpd"
    )


def test_a_user_within_the_reserve_is_in_the_map(site: Site) -> None:
    _change(site, bob="%(S (1000 1) M (0) AS (0) NF (0))")
    site.write_map("--reserve", "10%")
    assert _difference(site, "bob")["why"] == (
        "the map was written with --reserve, and 1 of its users is only nearly full"
    )
    assert _difference(site, "--reserve", "10%", "bob")["why"] == (
        "the export also lists users who are nearly full (--reserve), and this user is"
    )


def test_two_users_with_one_key_and_two_values_are_not_listed(site: Site) -> None:
    site.set("virtdomains: userid", "defaultdomain: example.net")
    _change(site, bob=FULL_ROW)
    rows = site.quotas.read_text() + f"example.org!user.bob\t{GOOD_ROW}\n"
    site.quotas.write_text(rows)
    more = "example.org!user.bob\t0 default bob@example.org\tlrswipcda\t\n"
    site.mailboxes.write_text(site.mailboxes.read_text() + more)
    site.write_map("--key", "local", "--headroom", "1G")
    assert _difference(site, "--key", "local", "--headroom", "1G", "bob")["why"] == (
        "another user has the same local part and another value, so neither is listed"
    )


def test_an_export_that_fails_is_the_reason(site: Site) -> None:
    _change(site, bob=FULL_ROW)
    found = _difference(site, "--key", "address", "bob")
    assert found["why"].startswith("an export fails: --key address: no domain is known for")
    assert found["do"].startswith("use --key auto")


def test_without_headers_an_export_goes_by_the_quota_database(site: Site) -> None:
    site.write_header("bob", "user.jane")
    found = _difference(site, "--headers", "trust-rows", "bob")
    assert "lmtpd goes by the header" in found["why"]
    assert found["commands"] == ["quota -f user.bob"]


def test_a_map_that_is_missing_comes_with_the_command_that_writes_it(site: Site) -> None:
    site.map.unlink()
    found = _difference(site, "jane")
    assert found["why"].startswith(f"{site.map}: there is no map")
    assert found["commands"] == [f"cyrusquota-export -C {site.conf} -o {site.map}"]
    assert _found(site, "bob")["differences"] == []


def test_what_is_no_map_is_not_said_to_be_overwritten(site: Site) -> None:
    """An export does not do that."""
    site.map.write_text("jane: :defer: by hand\n")
    found = _difference(site, "jane")
    assert found["why"] == f"{site.map}: was not written by this program"
    assert found["do"].startswith("name the map that cyrusquota-export writes, or move this away")
    assert found["commands"] == []
    site.map.write_text("")
    assert _difference(site, "jane")["commands"] == [
        f"cyrusquota-export -C {site.conf} -o {site.map}"
    ]


@pytest.mark.parametrize("form", ["cdb", "postfix"])
def test_the_command_that_renews_a_map_keeps_its_format(form: str, site: Site) -> None:
    site.map.unlink()
    site.write_map("--map-format", form)
    _change(site, bob=FULL_ROW)
    (command,) = _difference(site, "bob")["commands"]
    assert command == f"cyrusquota-export -C {site.conf} -o {site.map} --map-format {form}"


def test_a_stream_is_not_compared_with_the_next_map(dump: Path, overquota: Path) -> None:
    text = overquota.read_text().replace("source: somewhere", f"source: {dump}")
    overquota.write_text(text.replace("jane:", "bob:"))
    done = _explain(dump, overquota, "--format", "json", "jane")
    (difference,) = json.loads(done.output)["differences"]
    assert "its source can be read only once" in difference["why"]


# --- folders ---


def _with_folders(site: Site) -> None:
    rows = f"user.jane.Sent\t{GOOD_ROW}\nuser.jane.Archive\t{FULL_ROW}\nuser.janet\t{GOOD_ROW}\n"
    site.quotas.write_text(
        "".join(sorted([*site.quotas.read_text().splitlines(True), *rows.splitlines(True)]))
    )


def test_folders_with_a_root_of_their_own_do_not_count(site: Site) -> None:
    _with_folders(site)
    found = _found(site, "jane")
    assert list(found["folders"]) == ["user.jane.Archive", "user.jane.Sent"]
    assert found["folders"]["user.jane.Sent"]["STORAGE"] == {"used": 5, "limit": 102400000}
    # Nobody asks about them while there is room.
    assert _found(site, "bob")["folders"] == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "jane+Sent@example.net",
            "The folder user.jane.Sent has a quota root of its own, user.jane.Sent, but lmtpd"
            " judges mail for it by the INBOX",
        ),
        (
            "user.jane.Archive.2020",
            "The folder user.jane.Archive.2020 has a quota root of its own, user.jane.Archive, but"
            " lmtpd judges mail for it by the INBOX; it is full, so that mail goes to the INBOX",
        ),
        ("bob+Sent", "The folder user.bob.Sent has no quota root of its own"),
    ],
)
def test_a_folder_that_is_asked_about_has_its_root(site: Site, asked: str, said: str) -> None:
    _with_folders(site)
    words = ["explain", "-C", str(site.conf), "--map", str(site.map), "--no-exim", asked]
    assert said in CliRunner().invoke(cyrusquota, [*words, "--settings", ""]).output.splitlines()


# --- shared folders ---


@pytest.mark.parametrize(
    ("acl", "reply"),
    [
        ("anyone\tlrsp\t", "452 4.2.2 Over quota"),
        ("anyone\tlrs\t", "550 5.7.1 Permission denied"),
        ("anyone\tlrs\tjoe\tlrsp\t", "550 5.7.1 Permission denied"),
        ("anyone\ts\t", "550 5.1.1 User unknown"),
    ],
)
def test_a_shared_folder_that_nobody_may_post_to_refuses(site: Site, acl: str, reply: str) -> None:
    site.quotas.write_text(f"news\t{FULL_ROW}\n" + site.quotas.read_text())
    rows = f"news\t0 default {acl}\n" + site.mailboxes.read_text()
    site.mailboxes.write_text(rows)
    header = site.spool / "news" / "cyrus.header"
    header.parent.mkdir()
    header.write_bytes(HEADER % (b"news", b"news"))
    found = _found(site, "+news@example.net")
    assert (found["inbox"], found["server"]["reply"]) == ("news", reply)
    assert ("logs in to lmtpd" in found["server"]["why"]) == ("joe" in acl)


# --- on a terminal ---


@pytest.mark.parametrize(
    ("name", "naming", "why"),
    [
        ("user.Up", OFF, "capitals"),
        ("user.up+x", OFF, "a +"),
        ("user.Up+x", OFF, "a +"),
        ("user.up up", OFF, "characters"),
        ("example.org!user.up", OFF, "a domain, and virtdomains is off"),
        ("example.net!user.up", ON, "a domain, and that is the defaultdomain"),
    ],
)
def test_why_a_mailbox_has_no_address_is_found(name: str, naming: Naming, why: str) -> None:
    assert unreachable_because(name, naming).startswith(f"it has {why}")


def test_a_mailbox_without_an_address_is_offered_by_its_name(site: Site) -> None:
    """Asked for by its local part, it would be offered again."""
    site.users["Upper"] = FULL_ROW
    site.write_users()
    words = ["explain", "-C", str(site.conf), "--map", str(site.map), "--no-exim"]
    done = CliRunner().invoke(cyrusquota, [*words, "--settings", "", "Upper"])
    assert "did you mean user.Upper?" in str(done.exception)


def test_the_verdict_has_a_colour_on_a_terminal_only(site: Site) -> None:
    words = ["explain", "-C", str(site.conf), "--map", str(site.map), "--no-exim"]
    words += ["--settings", "", "jane"]
    status, shown = on_terminal(*words)
    assert (status, shown.startswith("\x1b[33mjane is over quota")) == (0, True)
    assert shown.count("\x1b[33m") == 1
    _, shown = on_terminal(*words, environment={"NO_COLOR": "1"})
    assert shown.startswith("jane is over quota")
    assert "\x1b" not in shown
    assert "\x1b" not in CliRunner().invoke(cyrusquota, words).output


def test_on_a_narrow_terminal_lines_are_wrapped_but_commands_are_not(site: Site) -> None:
    _change(site, bob=FULL_ROW)
    words = ["explain", "-C", str(site.conf), "--map", str(site.map), "--no-exim", "bob"]
    done = CliRunner().invoke(cyrusquota, [*words, "--settings", ""], env={"COLUMNS": "60"})
    long = [line for line in done.output.splitlines() if len(line) > 60 and " " in line.strip()]
    assert long == [f"          cyrusquota-export -C {site.conf} -o {site.map}"]


def test_no_width_breaks_an_address(dump: Path, overquota: Path) -> None:
    words = ["explain", "--dump", str(dump), "--map", str(overquota), "--no-exim", "jane"]
    done = CliRunner().invoke(cyrusquota, words, env={"COLUMNS": "2"})
    assert done.output.startswith("jane\nis\nover\nquota\n")


def test_what_is_left_is_no_refusal(dump: Path, overquota: Path) -> None:
    overquota.write_text(overquota.read_text().replace("jane: :defer: 4.2.2 Full", "bob: free=5"))
    done = _explain(dump, overquota, "--format", "json", "bob")
    assert json.loads(done.output)["differences"] == []


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
