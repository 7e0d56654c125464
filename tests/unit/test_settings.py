"""The settings file gives defaults to the commands; the command line, and a source there, win."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cli import settings, settings_file
from cyrusquota.cli.export import export
from cyrusquota.cli.main import cyrusquota
from cyrusquota.errors import ConfigError
from tests.unit.programs import Program, Ran
from tools.docs import CHECKOUT

#: jane uses 2000 bytes of 1 KiB, and max 1000 of it: 24 bytes are left, which is less than 3%.
_DUMP = b"user.jane\t2000 1\nuser.max\t1000 1\n"
_JANE = "jane: :defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a dump, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump").write_bytes(_DUMP)
    return tmp_path


def _settings(directory: Path, text: str) -> str:
    (directory / "conf").write_text(text)
    return "--settings=conf"


def _users(path: Path) -> list[str]:
    return [line.partition(":")[0] for line in path.read_text().splitlines() if line[0] != "#"]


# What a file sets


def test_the_export_takes_everything_from_the_file(run_export: Program, site: Path) -> None:
    given = _settings(
        site,
        "[common]\n# a comment\ndump = dump\n\n[export]\noutput = map\n"
        "reserve =\n    3%\n    MESSAGE=1\nexempt = jane\nmessage = 4.2.2 100% full; later\n"
        "refuse = no\nmode = 0600\n",
    )
    assert run_export(given) == Ran(0, "", "")
    assert (site / "map").read_text().splitlines()[-1] == "max: :defer: 4.2.2 100% full; later"
    assert (site / "map").stat().st_mode & 0o777 == 0o600


def test_the_command_line_wins_and_a_list_there_replaces_the_list(
    run_export: Program, site: Path
) -> None:
    given = _settings(
        site,
        "[common]\ndump = dump\nreserve = 3%\n[export]\noutput = map\nexempt =\n  jane\n  max\n",
    )
    assert run_export(given, "-o", "other", "--exempt", "max").status == 0
    assert not (site / "map").exists()
    assert _users(site / "other") == ["jane"]


def test_a_section_of_a_command_wins_over_what_is_common(run_export: Program, site: Path) -> None:
    given = _settings(site, "[export]\nreserve = 3%\n[common]\ndump = dump\nreserve = 1%\n")
    assert [line.split(":")[0] for line in run_export(given).out.splitlines()[-2:]] == [
        "jane",
        "max",
    ]


def test_a_dry_run_compares_with_the_map_of_the_file(run_export: Program, site: Path) -> None:
    given = _settings(site, "[common]\ndump = dump\n[export]\noutput = map\n")
    assert run_export(given).status == 0
    (site / "dump").write_bytes(b"user.jane\t1000 1\nuser.max\t2000 1\n")
    shown = run_export(given, "--dry-run").out.splitlines()
    assert [line[:6] for line in shown[:2]] == ["+ max:", "- jane"]
    assert shown[2] == "1 entry would be added, 1 removed, 0 kept"


@pytest.mark.parametrize(
    "source",
    [
        ("--dump", "dump"),
        ("--dump=dump",),
        ("--db", "flat"),
        ("--quota-output", "report"),
        ("-C", "imapd.conf", "--no-mailboxes"),
        ("-Cimapd.conf", "--no-mailboxes"),
    ],
    ids=lambda words: words[0],
)
def test_a_source_on_the_command_line_sets_the_file_aside(
    source: tuple[str, ...], run_export: Program, site: Path
) -> None:
    """The same command gives the same map on any machine."""
    given = _settings(
        site,
        "[common]\ndb = gone\nservice = none\nreserve = 3%\nuser = nobody\npolicy = smmapd\n"
        "[export]\noutput = gone/map\nkey = address\nexempt = jane\nmessage = 4.2.2 no\n"
        "owner = nobody\nmap-format = cdb\nmax-change = off\nheadroom = 5M\nrefuse = yes\n",
    )
    (site / "flat").write_bytes(_DUMP)
    (site / "imapd.conf").write_text(f"configdirectory: {site}\nquota_db: flat\n")
    (site / "quotas.db").write_bytes(_DUMP)
    (site / "mailboxes.db").write_bytes(b"")
    (site / "report").write_text(
        "   Quota   % Used     Used             Resource Root\n"
        "       1      200        2              STORAGE user.jane\n"
        "                         0              MESSAGE user.jane\n"
        "                         0 X-ANNOTATION-STORAGE user.jane\n"
        "                         1        X-NUM-FOLDERS user.jane\n"
    )
    done = run_export(given, *source)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1] == _JANE


def test_what_does_not_concern_the_map_stays_beside_a_source(run: Program, site: Path) -> None:
    given = _settings(site, "[report]\ntop = 0\n[list]\nnear = 97%\n")
    assert "user.max" in run("list", given, "--dump", "dump").out
    (site / "conf").write_text("[list]\nnear = 99%\n")
    assert "user.max" not in run("list", given, "--dump", "dump").out


def test_either_of_two_options_that_exclude_one_another_may_be_replaced(
    run: Program, site: Path
) -> None:
    given = _settings(site, "[common]\nno-mailboxes = yes\ndump = dump\n")
    (site / "boxes").write_text("")
    assert run("list", given, "--mailboxes", "boxes").status == 0
    (site / "conf").write_text("[common]\nmailboxes = gone\ndump = dump\n")
    assert run("list", given, "--no-mailboxes").status == 0


# Commands that look at the export


def _in_force(run: Program, *arguments: str) -> dict[str, dict[str, Any]]:
    done = run("settings", "--format", "json", *arguments)
    assert (done.status, done.err) == (0, "")
    commands: dict[str, dict[str, Any]] = json.loads(done.out)["commands"]
    return commands


def test_commands_that_look_at_the_export_know_its_map_and_options(
    run: Program, site: Path
) -> None:
    given = _settings(
        site,
        "[common]\nuser = cyrus\n[export]\noutput = /m/map\nkey = address\nexempt = jane\n"
        "headroom = 5M\nmax-change = 30%,5\nreserve = 2%\nmode = 0600\nquiet = yes\n",
    )
    shown = _in_force(run, given)
    for name in ("check", "metrics", "doctor", "explain"):
        assert shown[name]["map"] == {"value": "/m/map", "section": "export", "line": 4}
    for name in ("check", "metrics", "explain"):
        assert shown[name]["reserve"] == {"value": ["2%"], "section": "export", "line": 9}
        assert shown[name]["user"] == {"value": "cyrus", "section": "common", "line": 2}
    for key, value in {
        "key": "address",
        "exempt": ["jane"],
        "headroom": "5M",
        "max-change": ["30%,5"],
        "output": None,
        "quiet": False,
    }.items():
        assert shown["metrics"][key]["value"] == value
    for name in ("list", "report"):
        assert shown[name]["reserve"]["value"] is None
        assert shown[name]["user"]["value"] == "cyrus"
    assert shown["report"]["mode"] == {"value": "0640", "section": None, "line": None}


def test_check_and_metrics_read_the_map_of_the_export(
    run_export: Program, run: Program, site: Path
) -> None:
    given = _settings(site, "[common]\ndump = dump\n[export]\noutput = map\nreserve = 3%\n")
    assert run_export(given).status == 0
    checked = run("check", given, "-w", "map_entries=1")
    assert checked.status == 1
    assert "1 near it" in checked.out and "entries in the map: 2 [" in checked.out
    measured = run("metrics", given).out
    assert "cyrusquota_map_entries 2" in measured
    assert "cyrusquota_map_held_back 0" in measured


def test_the_doctor_knows_which_map_a_job_without_o_writes(run: Program, site: Path) -> None:
    crontab = site / "root" / "etc" / "crontab"
    crontab.parent.mkdir(parents=True)
    crontab.write_text("*/5 * * * * root cyrusquota-export\n")
    given = _settings(site, f"[export]\noutput = {site}/map\n")
    arguments = ("doctor", "--root", "root", "--no-exim", "--format", "json", given)
    assert "schedule-map" not in run(*arguments).out
    (site / "conf").write_text(f"[doctor]\nmap = {site}/map\n")
    assert "schedule-map" in run(*arguments).out


# Which file is read


def test_an_empty_name_reads_no_file(
    run_export: Program, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _settings(site, "[export]\ndump = dump\nexempt = jane\n")
    monkeypatch.delenv(settings.VARIABLE)
    monkeypatch.setattr(settings, "DEFAULT_PATH", str(site / "conf"))
    assert _JANE not in run_export().out
    assert _JANE in run_export("--settings", "", "--dump", "dump").out
    (site / "conf").unlink()
    assert _JANE in run_export("--dump", "dump").out


def test_the_environment_names_the_file(
    run_export: Program, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "conf").write_text("[export]\ndump = dump\nexempt = jane\n")
    monkeypatch.setenv(settings.VARIABLE, "conf")
    assert _JANE not in run_export().out
    monkeypatch.setenv(settings.VARIABLE, "gone")
    assert run_export().status == 78


def test_the_tests_read_none() -> None:
    assert os.environ[settings.VARIABLE] == ""
    assert settings.find(None) is None


def test_make_reads_none() -> None:
    assert f"\nexport {settings.VARIABLE} =\n" in (CHECKOUT / "Makefile").read_text("utf-8")


def test_help_needs_no_sound_file(run_export: Program, site: Path) -> None:
    assert run_export(_settings(site, "x"), "--help").status == 0
    assert run_export("--settings=conf", "--version").status == 0
    assert run_export("--settings=conf").status == 78


# What is wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user = cyrus\n", "line 1: expected a section such as [export] before it"),
        ("[export]\n\nrefuse\n", "line 3: expected KEY = VALUE, such as user = cyrus"),
        ("[export]\n[list]\n [export]\n", "line 3: [export] is there twice; join them"),
        ("[export]\nkey = auto\nkey = local\n", "line 3: key is there twice; remove one, or"),
        ("[common]\n[exports]\n", "line 2: unknown section [exports]; sections are common, export"),
        ("[DEFAULT]\nx = y\n", "line 1: unknown section [DEFAULT]; sections are"),
        ("[export]\n# x\nOutput = m\n", "line 3: [export] Output: unknown; the options are config"),
        ("[export]\nmap_format = cdb\n", "line 2: [export] map_format: unknown; the options are"),
        ("[common]\noutput = m\n", "line 2: [common] output: not an option that several commands"),
        ("[export]\ndry-run = yes\n", "line 2: [export] dry-run: belongs on the command line"),
        (
            "[export]\nrefuse = maybe\n",
            "line 2: [export] refuse: expected yes or no, found 'maybe'",
        ),
        ("[export]\nkey =\n auto\n local\n", "line 2: [export] key: takes one value; remove the"),
        ("[export]\nkey = both\n", "line 2: [export] key: 'both' is not one of 'auto', 'local'"),
        ("[export]\nwait = soon\n", "line 2: [export] wait: 'soon' is not a valid float"),
        ("[export]\noutput =\n", "line 2: [export] output: expected the name of a file"),
        ("[export]\nmode = rw\n", "line 2: [export] mode: expected an octal mode such as 0644"),
        ("[export]\nheadroom = lots\n", "line 2: [export] headroom: --headroom: expected a size"),
        ("[common]\nreserve =\n 2%\n lots\n", "line 2: [common] reserve: --reserve: expected an"),
        ("[common]\nbackend = x\n", "line 2: [common] backend: "),
        ("[export]\nmax-change = 5\n", "line 2: [export] max-change: --max-change"),
        ("[common]\ndb = a\ndump = b\n", "line 2: [common] db: --db, --quota-output and --dump"),
        ("[export]\n\nuser = no-such-user\n", "line 3: [export] user: "),
    ],
)
def test_a_mistake_is_named_with_its_line(
    text: str, expected: str, run_export: Program, site: Path
) -> None:
    done = run_export(_settings(site, text), "-n")
    assert done.status == 78
    assert not done.out
    assert done.err.startswith(f"cyrusquota-export: conf, {expected}")


def test_a_mistake_makes_the_plugin_unknown(run: Program, site: Path) -> None:
    done = run("check", _settings(site, "[check]\nwarning = speed=1\n"))
    assert done.status == 3
    assert done.out.startswith("CYRUSQUOTA UNKNOWN - conf, line 2: [check] warning: -w: unknown")


def test_a_mistake_in_another_section_is_found_by_check_alone(
    run_export: Program, run: Program, site: Path
) -> None:
    given = _settings(site, "[common]\ndump = dump\n[list]\nsort = size\n")
    assert run_export(given).status == 0
    done = run("settings", "--check", given)
    assert done.status == 78
    assert done.err.startswith("cyrusquota: conf, line 4: [list] sort: 'size' is not one of")
    (site / "conf").write_text("[list]\nsort = use\n")
    assert run("settings", "--check", given) == Ran(0, "conf: no errors\n", "")
    none = "no settings file; all options have their defaults\n"
    assert run("settings", "--check", "--settings", "") == Ran(0, none, "")


def test_a_file_that_others_may_write_is_refused(run_export: Program, site: Path) -> None:
    given = _settings(site, "[common]\ndump = dump\n")
    (site / "conf").chmod(0o664)
    assert run_export(given).status == 0
    (site / "conf").chmod(0o666)
    done = run_export(given)
    assert done.status == 78
    assert done.err == "cyrusquota-export: conf: any user may write to it; chmod o-w conf\n"


def test_a_file_of_another_user_is_refused(run_export: Program, site: Path) -> None:
    given = _settings(site, "[common]\ndump = dump\n")
    owner = (site / "conf").stat().st_uid
    with mock.patch("os.geteuid", return_value=owner + 7):
        done = run_export(given)
    if owner == 0:
        assert done.status == 0
        os.chown(site / "conf", 4321, -1)
        done = run_export(given)
    assert done.status == 78
    assert "conf: belongs to the user" in done.err


def test_a_named_pipe_is_not_waited_for(run_export: Program, site: Path) -> None:
    os.mkfifo(site / "conf")
    done = run_export("--settings=conf")
    assert (done.status, done.err[:35]) == (78, "cyrusquota-export: conf: not a file")


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                [b"[export]", b"[common]", b" [list]", b"[", b"]", b"key", b"=", b"reserve = 2%",
                 b"  2%", b"\t", b"", b"# x", b"; y", b"\xff = \xfe", b"a = b = c", b"= x", b"\r",
                 b"[\n]", b"key : x", b"%(x)s = %(y)s"]
            ),
            max_size=12,
        ).map(b"\n".join),
    )
)  # fmt: skip
def test_any_bytes_are_settings_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-settings"
    path.write_bytes(content)
    found: Optional[settings.SettingsFile] = None
    try:
        found = settings.load(str(path))
        found.defaults(export, click.Context(export, info_name="export"))
    except ConfigError as error:
        assert str(path) in str(error)
    lines = content.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    for section in found.sections.values() if found is not None else ():
        for one in section:
            assert one.key in lines[one.line - 1]


# `cyrusquota settings`, and the file that is shipped


def test_every_command_has_a_section() -> None:
    assert {*settings_file.COMMANDS} == {"export", "mirror", *cyrusquota.commands}


def test_text_shows_what_is_set_and_where(run: Program, site: Path) -> None:
    given = _settings(site, "[common]\nuser = cyrus\n\n[list]\nover = yes\ndomain =\n  a\n  b\n")
    assert [line.split() for line in run("settings", given, "list").out.splitlines()] == [
        ["#", "conf"],
        [],
        ["[list]"],
        ["user", "=", "cyrus", "#", "line", "2,", "[common]"],
        ["headers", "=", "read", "#", "default"],
        ["over", "=", "yes", "#", "line", "5,", "[list]"],
        ["domain", "=", "a,", "b", "#", "line", "6,", "[list]"],
        ["sort", "=", "source", "#", "default"],
        ["format", "=", "table", "#", "default"],
        ["unit", "=", "auto", "#", "default"],
    ]


def test_the_shipped_file_is_sound_and_so_is_all_that_it_proposes(run: Program, site: Path) -> None:
    text = (CHECKOUT / "cyrusquota.conf").read_text("utf-8")
    (site / "shipped").write_text(text)
    assert run("settings", "--settings=shipped", "--check").status == 0
    proposed = re.sub(r"^# (?=[a-z-]+ =|    )", "", text, flags=re.MULTILINE)
    (site / "proposed").write_text(proposed)
    assert run("settings", "--settings=proposed", "--check").status == 0
    shown = _in_force(run, "--settings=proposed")
    assert shown["export"]["output"]["value"] == "/var/lib/cyrusquota/overquota"
    assert shown["export"]["max-change"]["value"] == ["added=20%,20", "removed=50%,50"]
    assert shown["check"]["warning"]["value"] == ["over_percent=5", "map_age=1800"]
