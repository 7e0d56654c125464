"""The doctor on a host without Exim: each kind of finding, provoked on a host that is well."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional

import attrs
import pytest
from click.testing import CliRunner

from cyrusquota.cli.main import cyrusquota
from cyrusquota.doctor import KINDS, Severity, worst
from cyrusquota.doctor.findings import finding, without_consequences
from cyrusquota.doctor.kinds import MAP_KINDS
from cyrusquota.doctor.kinds_engine import ENGINE_KINDS
from cyrusquota.doctor.kinds_exim import EXIM_KINDS, SCHEDULE_KINDS
from cyrusquota.doctor.map_file import closed_to, described
from cyrusquota.doctor.schedule import PATH, CronLine, cron_lines
from tests.exim_faults import EXIM_CASES
from tests.recorded_fixtures import FIXTURES
from tests.site import FULL, Site, fake_systemctl
from tests.unit.terminals import on_terminal

_NOBODY = 65534
FOLLOW = "[Service]\nExecStart=/usr/local/sbin/cyrusquota-export --follow --output {}\n"
ONCE = "[Service]\nExecStart=/usr/local/sbin/cyrusquota-export -o {}\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def _nothing(site: Site) -> None:
    pass


def _many(site: Site, value: str) -> None:
    site.users.update({f"u{number:03}": value for number in range(100)})
    site.write_users()


def _held(site: Site) -> None:
    site.write_map()
    _many(site, FULL)


def _behind(site: Site) -> None:
    site.users["bob"] = FULL
    site.write_users()


def _link(site: Site) -> None:
    target = site.map.with_name("elsewhere")
    site.map.rename(target)
    site.map.symlink_to(target)


def _never_started(site: Site) -> None:
    for path in (site.quotas, site.mailboxes, site.map):
        path.unlink()


def _berkeley(site: Site) -> None:
    shutil.copy(FIXTURES / "berkeley" / "quotas-btree.db", site.quotas)


def _murder(site: Site) -> None:
    site.set("mupdate_server: mupdate.example.net")


def _remote(site: Site) -> None:
    text = site.mailboxes.read_text()
    site.mailboxes.write_text(text.replace("0 default", "1 backend.example.net!default"))


def _from_elsewhere(site: Site) -> None:
    text = site.map.read_text()
    site.map.write_text(re.sub("# source: .*", "# source: elsewhere", text))


def _two_services(site: Site) -> None:
    site.set("lmtpstrict_lmtp_strict_quota: yes")
    services = "".join(
        f' {name} cmd="lmtpd -a" listen="{name}"\n' for name in ("lmtp", "lmtpstrict")
    )
    (site.directory / "cyrus.conf").write_text(f"SERVICES {{\n{services}}}\n")


def _disabled(site: Site) -> None:
    site.no_schedule()
    site.unit("cyrusquota.service", FOLLOW.format(site.map))


def _failed(site: Site) -> None:
    site.unit("cyrusquota.service", FOLLOW.format(site.map), wanted_by="multi-user.target")


#: By kind: what makes the doctor find it on a host without Exim.
CASES: Mapping[str, Callable[[Site], object]] = {
    "imapd-conf": _nothing,
    "imapd-conf-bad": lambda site: site.set("no colon"),
    "imapd-conf-twice": lambda site: site.set("quota_db: flat"),
    "quota-db": _nothing,
    "quota-db-bad": lambda site: site.quotas.unlink(),
    "quota-db-new": _never_started,
    "quota-db-tool": _berkeley,
    "quota-db-records": lambda site: site.quotas.write_text("user.jane\tnonsense\n"),
    "quota-db-empty": lambda site: site.quotas.write_text(""),
    "quota-db-open": lambda site: site.quotas.chmod(0o666),
    "mailboxes-bad": lambda site: site.mailboxes.unlink(),
    "no-inboxes": _remote,
    "murder": _murder,
    "strict-quota": lambda site: site.set("lmtp_strict_quota: yes"),
    "totals": lambda site: site.set("quota_use_conversations: yes", "conversations: yes"),
    "totals-frozen": lambda site: site.set("quota_use_conversations: yes"),
    "perm-failure": lambda site: site.set("lmtp_over_quota_perm_failure: yes"),
    "lmtpd-services": _two_services,
    "catch-all": lambda site: site.set("lmtp_catchall_mailbox: bob"),
    "max-messages": lambda site: site.set("mailbox_maxmessages_email: 1000"),
    "header-root": lambda site: site.write_header("bob", "user"),
    "capitals": lambda site: site.set("lmtp_downcase_rcpt: no"),
    "virtual-domains": lambda site: site.set("virtdomains: userid"),
    "map": _nothing,
    "map-missing": lambda site: site.map.unlink(),
    "map-foreign": lambda site: site.map.write_text("jane: :defer: mine\n"),
    "map-old": lambda site: site.age(7200),
    "map-late": lambda site: site.age(3600),
    "map-future": lambda site: site.age(-1000),
    "map-link": _link,
    "map-open": lambda site: site.map.chmod(0o666),
    "map-source": _from_elsewhere,
    "map-behind": _behind,
    "map-held": _held,
    "no-exim": _nothing,
    "schedule": _nothing,
    "schedule-missing": lambda site: site.no_schedule(),
    "schedule-disabled": _disabled,
    "schedule-map": lambda site: site.cron("* * * * * root cyrusquota-export -o /elsewhere\n"),
    "schedule-seldom": lambda site: site.cron("0 4 * * * root cyrusquota-export -o /m\n"),
    "schedule-twice": lambda site: site.cron("@hourly root cyrusquota-export -o /m\n", "too"),
    "schedule-program": lambda site: site.program.unlink(),
    "schedule-ignored": lambda site: site.cron("@hourly root cyrusquota-export\n", "a.cron"),
}
#: Those that have a test of their own below.
OWN_TESTS = {"not-seen", "schedule-failed"}


@pytest.mark.parametrize("kind", list(CASES))
def test_each_kind_is_found(kind: str, site: Site) -> None:
    healthy = site.findings()
    CASES[kind](site)
    found = site.findings()
    assert kind in found
    assert found[kind].said
    if found[kind].kind.severity is not Severity.OK:
        assert kind not in healthy or kind == "no-exim"
        assert found[kind].do


def test_every_kind_is_provoked_by_a_test() -> None:
    # Those of the engine are in test_doctor_engine.py.
    of_engine = {kind.id for kind in ENGINE_KINDS}
    assert {*CASES, *EXIM_CASES, *OWN_TESTS, *of_engine} == set(KINDS)


def test_the_names_of_kinds_are_theirs_alone() -> None:
    assert all(kind.id == name for name, kind in KINDS.items())
    assert all(kind.means.endswith(".") for kind in KINDS.values())
    assert all(kind.do or kind.severity is Severity.OK for kind in KINDS.values())


def test_a_healthy_host_has_nothing_worse_than_the_note_that_there_is_no_exim(site: Site) -> None:
    found = site.findings()
    assert set(found) == {"imapd-conf", "quota-db", "map", "no-exim", "schedule"}
    assert found["quota-db"].said.endswith("3 quota roots; 1 user over quota")
    assert worst(found.values()).exit_status == 0


def test_the_worst_finding_is_the_exit_status() -> None:
    ok, note, warning, error = (
        finding(kind, "x") for kind in ("map", "map-link", "map-late", "map-old")
    )
    assert worst([]).exit_status == worst([ok]).exit_status == worst([note, ok]).exit_status == 0
    assert worst([ok, warning, note]).exit_status == 1
    assert worst([error, warning]).exit_status == 2


def test_of_two_services_one_can_be_chosen(site: Site) -> None:
    _two_services(site)
    found = site.findings()
    assert "lmtp_strict_quota" in found["lmtpd-services"].said
    assert "strict-quota" not in found
    found = site.findings(attrs.evolve(site.host(), service="lmtpstrict"))
    assert "lmtpd-services" not in found
    assert "strict-quota" in found


@pytest.mark.parametrize(
    ("root", "said"),
    [("user.bob", None), ("", "no root"), ("user", "user"), ("user.ann", "user.ann")],
)
def test_a_header_names_the_own_root(site: Site, root: str, said: Optional[str]) -> None:
    site.write_header("bob", root)
    found = site.findings()
    if said is None:
        assert "header-root" not in found
    else:
        expected = f"1 INBOX: the header of user.bob names {said}"
        assert found["header-root"].said == expected
        assert found["header-root"].do.endswith("then run `quota -f user.bob`")


def test_a_header_without_a_root_is_right_where_there_is_no_row(site: Site) -> None:
    rows = site.quotas.read_text().splitlines(keepends=True)
    site.quotas.write_text("".join(row for row in rows if not row.startswith("user.bob")))
    assert site.findings()["header-root"].said.endswith("user.bob names user.bob")
    site.write_header("bob", "")
    assert "header-root" not in site.findings()


def test_a_sql_server_is_dumped_by_its_tool(site: Site) -> None:
    site.set("sql_engine: pgsql")
    site.conf.write_text(site.conf.read_text().replace("quota_db: flat", "quota_db: sql"))
    found = site.findings()["quota-db-tool"]
    assert found.said == "the quotas are in a pgsql server"
    dump = f"cyr_dbtool {site.quotas} sql show | /usr/local/sbin/cyrusquota-export --dump -"
    assert found.commands == (f"{dump} -o {site.map}",)


def test_strict_quotas_count_in_what_the_map_should_be(site: Site) -> None:
    site.users["bob"] = "%(S (0) M (5 5) AS (0) NF (0))"
    site.write_users()
    site.write_map()
    assert "1 user over quota" in site.findings()["quota-db"].said
    site.set("lmtp_strict_quota: yes")
    assert "2 users over quota" in site.findings()["quota-db"].said
    site.write_map()
    assert "map-behind" not in site.findings()


def test_a_map_with_a_reserve_is_not_behind(site: Site) -> None:
    site.users["bob"] = "%(S (1000 1) M (0) AS (0) NF (0))"
    site.write_users()
    site.write_map("--reserve", "50%")
    assert "map-behind" not in site.findings()
    site.write_map()
    assert "map-behind" not in site.findings()


def test_entries_of_a_reserve_are_not_removed_by_a_run_without(site: Site) -> None:
    near = {f"u{number:03}": "%(S (1000 1) M (0) AS (0) NF (0))" for number in range(100)}
    site.users.update(near)
    site.write_users()
    site.map.unlink()
    site.write_map("--reserve", "50%")
    assert "map-held" not in site.findings()


def test_a_map_by_local_part_is_not_behind(site: Site) -> None:
    site.set("virtdomains: userid", "defaultdomain: example.net")
    site.write_map("--key", "local")
    assert "map-behind" not in site.findings()


def test_a_map_for_postfix_is_late_and_never_too_old_for_a_router(site: Site) -> None:
    site.map.unlink()
    site.write_map("--map-format", "postfix")
    found = site.findings()
    assert "postfix, 1 entry" in found["map"].said
    assert "map-behind" not in found
    site.age(8000)
    found = site.findings()
    assert "map-old" not in found
    assert found["map-late"].said.endswith("2 hours 13 minutes ago, valid for ever")


def test_a_directory_in_which_others_may_replace_the_map(site: Site) -> None:
    site.map.parent.chmod(0o777)
    assert site.findings()["map-open"].commands == (f"chmod go-w {site.map.parent}",)


# --- a database that is not there yet ---


@pytest.mark.parametrize(
    ("backend", "mailboxes", "why"),
    [
        ("flat", None, "Cyrus was never started"),
        ("quotalegacy", None, "Cyrus was never started"),
        ("flat", "", "Cyrus has no mailboxes yet"),
        ("quotalegacy", "user.jane\t0 default jane\tlrswipcda\t\n", "no limit was ever set"),
        # It has the file since its first mailbox.
        ("flat", "user.jane\t0 default jane\tlrswipcda\t\n", None),
    ],
)
def test_a_missing_database_is_no_damage_where_cyrus_has_none_yet(
    backend: str, mailboxes: Optional[str], why: Optional[str], site: Site
) -> None:
    _never_started(site)
    if mailboxes is not None:
        site.mailboxes.write_text(mailboxes)
    conf = site.conf.read_text()
    site.conf.write_text(conf.replace("quota_db: flat", f"quota_db: {backend}"))
    found = site.findings()
    if why is None:
        assert "quota-db-bad" in found
        assert "quota-db-new" not in found
    else:
        assert found["quota-db-new"].said.endswith(f": {why}")
        assert "quota-db-bad" not in found


def test_a_file_system_that_is_not_mounted_is_no_new_cyrus(site: Site) -> None:
    site.set(f"quota_db_path: {site.directory}/elsewhere/quotas.db")
    conf = site.conf.read_text()
    site.conf.write_text(conf.replace(f"configdirectory: {site.directory}", "configdirectory: /x"))
    assert "quota-db-bad" in site.findings()


# --- what follows from something else ---


def _export_broken(site: Site) -> Callable[[], object]:
    text = site.quotas.read_text()
    site.quotas.unlink()
    return lambda: site.quotas.write_text(text)


def _never_enabled(site: Site) -> Callable[[], object]:
    _disabled(site)
    site.unit("other.service", "")
    wants = site.etc / "systemd/system/multi-user.target.wants"
    wants.mkdir()
    return (wants / "cyrusquota.service").touch


def _program_gone(site: Site) -> Callable[[], object]:
    site.program.rename(site.program.with_name("elsewhere"))
    return lambda: site.program.with_name("elsewhere").rename(site.program)


def _map_elsewhere(site: Site) -> Callable[[], object]:
    site.cron("* * * * * root /usr/local/sbin/cyrusquota-export -o /elsewhere\n")
    right = f"* * * * * root /usr/local/sbin/cyrusquota-export -o {site.map}\n"
    return lambda: site.cron(right)


def _held_change(site: Site) -> Callable[[], object]:
    users = dict(site.users)
    _many(site, FULL)
    site.users = users
    return site.write_users


def _emptied(site: Site) -> Callable[[], object]:
    site.quotas.write_text("")
    return site.write_users


def _too_old(site: Site) -> None:
    site.age(9000)


def _a_little_late(site: Site) -> None:
    site.age(4000)


#: What is wrong, what follows from it, and how that comes about.
FOLLOWS = [
    ("quota-db-bad", _export_broken, "map-old", _too_old),
    ("quota-db-bad", _export_broken, "map-late", _a_little_late),
    ("quota-db-bad", _export_broken, "map-missing", lambda site: site.map.unlink()),
    ("schedule-disabled", _never_enabled, "map-old", _too_old),
    ("schedule-program", _program_gone, "map-missing", lambda site: site.map.unlink()),
    ("schedule-map", _map_elsewhere, "map-late", _a_little_late),
    ("map-held", _held_change, "map-old", _too_old),
    ("quota-db-empty", _emptied, "map-behind", _behind),
]


@pytest.mark.parametrize(("cause", "break_it", "consequence", "let_follow"), FOLLOWS)
def test_what_follows_is_held_back_until_its_cause_is_gone(
    cause: str,
    break_it: Callable[[Site], Callable[[], object]],
    consequence: str,
    let_follow: Callable[[Site], object],
    site: Site,
) -> None:
    let_follow(site)
    repair = break_it(site)
    found = site.findings()
    assert consequence not in found
    assert found[cause].held_back == (consequence,)
    severities = [KINDS[name].severity for name in (cause, consequence)]
    assert found[cause].severity is max(severities, key=lambda one: one.value)
    repair()
    found = site.findings()
    assert cause not in found
    assert found[consequence].held_back == ()


def test_a_host_that_only_publishes_needs_no_map_and_no_exim(site: Site) -> None:
    site.no_schedule()
    site.map.unlink()
    engine = ("--engine", "redis://127.0.0.1:1", "--store", "store1")
    words = ["doctor", "-C", str(site.conf), "--root", str(site.etc.parent), *engine]
    done = CliRunner().invoke(cyrusquota, [*words, "--format", "json"], catch_exceptions=False)
    found = {one["id"] for one in json.loads(done.output)["findings"]}
    assert found & {"imapd-conf", "quota-db"} == {"imapd-conf", "quota-db"}
    about_mta = {kind.id for kind in (*MAP_KINDS, *SCHEDULE_KINDS, *EXIM_KINDS)}
    assert found & about_mta == set()


def test_the_command_names_what_it_holds_back(site: Site) -> None:
    site.age(9000)
    _disabled(site)
    status, out = _doctor(site, "-q")
    assert status == 2
    assert out.endswith("\n         Held back until this is done: map-old\n")
    (found,) = json.loads(_doctor(site, "-q", "--format", "json")[1])["findings"]
    assert (found["id"], found["held_back"]) == ("schedule-disabled", ["map-old"])


RELATIONS = [(cause, kind.id) for kind in KINDS.values() for cause in kind.causes]


@pytest.mark.parametrize(("cause", "consequence"), RELATIONS)
def test_every_consequence_is_held_back_by_each_of_its_causes(cause: str, consequence: str) -> None:
    other = finding("capitals", "something else")
    first, then = finding(cause, "first"), finding(consequence, "then")
    for findings in ([first, then, other], [then, other, first, first]):
        shown = without_consequences(findings)
        assert [one.said for one in shown if one.kind.id != "capitals"] == (
            ["first"] * findings.count(first)
        )
        assert all(one.severity is worst([first, then]) for one in shown if one.said == "first")
    assert without_consequences([then, other]) == [then, other]


def test_causes_are_known_bad_and_in_no_circle() -> None:
    def roots(kind: str, path: tuple[str, ...]) -> None:
        assert kind not in path, path
        for cause in KINDS[kind].causes:
            assert KINDS[cause].severity is not Severity.OK
            roots(cause, (*path, kind))

    for kind in KINDS:
        roots(kind, ())


def test_what_follows_from_a_consequence_is_held_back_by_the_first_cause() -> None:
    kinds = ("quota-db-bad", "schedule-failed", "map-old", "map-behind")
    (shown,) = without_consequences([finding(kind, kind) for kind in kinds])
    assert shown.kind.id == "quota-db-bad"
    assert shown.held_back == ("schedule-failed", "map-old", "map-behind")


# --- whole commands ---

BARE = "/usr/local/sbin/cyrusquota-export -C {conf} -o {map}"


@pytest.mark.parametrize(
    ("command", "advised"),
    [
        ("/usr/sbin/cyrusquota-export -o {map}", "/usr/sbin/cyrusquota-export -o {map}"),
        ("nice -n 5 cyrusquota-export --output={map} --key address >/dev/null 2>&1",
         "cyrusquota-export --output={map} --key address"),
        ("test -x /bin/x && cyrusquota-export -q -o {map} | true", "cyrusquota-export -o {map}"),
        ("cyrusquota-export --follow --poll 2 -o {map}", "cyrusquota-export -o {map}"),
        ("cyrusquota-export --poll=2 --follow --quiet -o {map}", "cyrusquota-export -o {map}"),
        ("cyrusquota-export -o {map} --key 'ad'dress", "cyrusquota-export -o {map} --key address"),
        # Only cron's shell knows what these are.
        ("cyrusquota-export -o {map} --exempt $WHO", BARE),
        ("cyrusquota-export -o {map}; true", BARE),
        ("cyrusquota-export -o {map} --message 'a%b'", BARE),
        ("sh -c 'cyrusquota-export -o {map}'", BARE),
        ("cyrusquota-export -o /elsewhere", BARE),
    ],
)  # fmt: skip
def test_advice_names_the_command_of_the_job(command: str, advised: str, site: Site) -> None:
    site.cron(f"* * * * * root {command.format(map=site.map)}\n")
    _held(site)
    whole = advised.format(map=site.map, conf=site.conf)
    found = site.findings()["map-held"]
    assert found.commands == (f"{whole} --dry-run", f"{whole} --accept-change 100")


def test_the_line_for_a_crontab_is_one_that_cron_runs(site: Site) -> None:
    site.no_schedule()
    (line,) = site.findings()["schedule-missing"].commands
    crontab = site.etc.parent / "var/spool/cron/crontabs/root"
    crontab.parent.mkdir(parents=True)
    crontab.write_text(f"{line}\n")
    found = site.findings()
    assert worst(found.values()) is Severity.NOTE
    assert found["schedule"].said == f"{crontab}: {line.partition('  ')[2]}"


def test_the_line_for_a_crontab_finds_the_program_of_a_virtual_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron would not find it by its name."""
    site.no_schedule()
    site.program.unlink()
    monkeypatch.setattr(sys, "executable", "/srv/venv/bin/python3")
    program = site.etc.parent / "srv/venv/bin/cyrusquota-export"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    (line,) = site.findings()["schedule-missing"].commands
    assert line.startswith("*/5 * * * *  /srv/venv/bin/cyrusquota-export -C ")


def test_an_exim_that_is_not_there_is_not_to_be_run(site: Site) -> None:
    found = site.findings(site.host(str(site.directory / "exim4")))["exim-bad"]
    assert found.said.endswith("exim4: cannot be run: No such file or directory")
    assert found.do == "name Exim with --exim, or leave it out with --no-exim"
    assert found.commands == ()


@pytest.mark.parametrize("form", ["cdb", "postfix"])
def test_the_line_for_a_crontab_keeps_the_format_of_the_map(form: str, site: Site) -> None:
    site.map.unlink()
    site.write_map("--map-format", form)
    site.no_schedule()
    (line,) = site.findings()["schedule-missing"].commands
    assert line.endswith(f" -o {site.map} --map-format {form}")


def test_the_map_of_the_settings_needs_no_option(site: Site) -> None:
    site.cron("* * * * * root cyrusquota-export --settings /etc/c.conf\n")
    _held(site)
    host = attrs.evolve(site.host(), exports_to=str(site.map))
    look, accept = site.findings(host)["map-held"].commands
    assert accept == "cyrusquota-export --settings /etc/c.conf --accept-change 100"
    assert "--dry-run" in look


@pytest.mark.parametrize("name", ["a b", "it's"])
def test_commands_are_quoted_for_a_shell(name: str, tmp_path: Path) -> None:
    site = Site(tmp_path / name)
    site.map.chmod(0o666)
    (command,) = site.findings()["map-open"].commands
    assert shlex.split(command) == ["chmod", "go-w", str(site.map)]


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.commands])
def test_what_the_general_advice_has_in_capitals_is_filled_in(kind: str, site: Site) -> None:
    if kind not in CASES:
        return
    CASES[kind](site)
    commands = site.findings()[kind].commands
    assert commands
    assert not re.search(r"\b[A-Z]{3,}\b", " ".join(commands).replace(str(site.directory), ""))


@pytest.mark.parametrize(
    "kind", ["map-missing", "map-old", "map-late", "map-future", "map-held", "map-link", "map-open"]
)
def test_the_advised_commands_do_it(kind: str, site: Site) -> None:
    """Each is given to a shell as it is."""
    program = site.directory / "bin" / "cyrusquota-export"
    here = site.etc.parent / str(program).lstrip("/")
    for path in (program, here):
        path.parent.mkdir(parents=True)
        path.write_text(
            f"#!/bin/sh\nPYTHONPATH={Path(__file__).parents[2]} exec {sys.executable} -m"
            f" cyrusquota.cli.export --settings '' -C {site.conf} \"$@\"\n"
        )
        path.chmod(0o755)
    site.cron(f"*/5 * * * * root {program} -o {site.map}\n")
    CASES[kind](site)
    found = site.findings()
    assert found[kind].commands
    for command in found[kind].commands:
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    # The link stays, and is followed.
    assert (kind in site.findings()) is (kind == "map-link")
    assert site.findings()["map"].said.startswith(f"{site.map}: renewed 0 seconds ago")


def test_a_directory_for_the_map_is_made_first(site: Site) -> None:
    shutil.rmtree(site.map.parent)
    first, export = site.findings()["map-missing"].commands
    assert first == f"install -d -m 755 {site.map.parent}"
    assert export == f"/usr/local/sbin/cyrusquota-export -o {site.map}"


# --- rights ---


@pytest.fixture
def shared() -> Iterator[Site]:
    """A host whose directory other users may look into."""
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    directory.chmod(0o755)
    yield Site(directory)
    directory.chmod(0o755)
    shutil.rmtree(directory)


@contextlib.contextmanager
def _ordinary() -> Iterator[None]:
    """Without root's rights."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("name", ["quotas", "mailboxes", "map"])
def test_what_may_not_be_read_is_said(name: str, shared: Site) -> None:
    path: Path = getattr(shared, name)
    path.chmod(0)
    with _ordinary():
        found = shared.findings()
    assert found["not-seen"].said.startswith(f"{path}: permission denied")
    assert "run" in found["not-seen"].do
    assert worst(found.values()).exit_status == 1


def test_a_crontab_that_only_root_may_read_is_said(shared: Site) -> None:
    crontabs = shared.etc.parent / "var/spool/cron/crontabs"
    crontabs.mkdir(parents=True)
    crontabs.chmod(0)
    with _ordinary():
        found = shared.findings()
    crontabs.chmod(0o755)
    assert found["not-seen"].said == f"{crontabs}/root: permission denied"
    assert "schedule" in found


@pytest.mark.parametrize("is_root", [True, False])
def test_the_way_to_the_map_is_closed_where_a_right_is_missing(is_root: bool, shared: Site) -> None:
    def closed(path: Path = shared.map) -> Optional[Path]:
        # Somebody who is neither the owner nor who asks.
        with contextlib.nullcontext() if is_root else _ordinary():
            found = closed_to("daemon", str(path))
        return None if found is None else found.path

    link = shared.directory / "link"
    link.symlink_to(shared.map)
    assert closed() is closed(link) is None
    shared.map.chmod(0o640)
    assert closed() == closed(link) == shared.map
    shared.map.parent.chmod(0o750)
    assert closed() == closed(link) == shared.map.parent
    shared.map.parent.chmod(0o751)
    shared.map.chmod(0o604)
    assert closed() is None
    shared.directory.chmod(0o700)
    assert closed() == shared.directory


def test_rights_are_described(shared: Site) -> None:
    assert re.fullmatch(r"mode 0644, owner \S+, group \S+", described(shared.map))


# --- crontabs and units ---


@pytest.mark.parametrize(
    ("when", "pause"),
    [
        ("*/5 * * * *", 300),
        ("* * * * *", 60),
        ("0 * * * *", 3600),
        ("@hourly", 3600),
        ("0,30 * * * *", 1800),
        ("10-50/20 * * * *", 1200),
        ("0 */6 * * *", 6 * 3600),
        ("0 8-18 * * *", 14 * 3600),
        ("30 4 * * *", 86400),
        ("@daily", 86400),
        ("*/5 * * * 1-5", None),
        ("@weekly", None),
        ("@reboot", None),
        ("x * * * *", None),
    ],
)
def test_the_longest_pause_of_a_crontab(when: str, pause: object) -> None:
    (line,) = cron_lines(f"{when} cyrusquota-export -o /m\n", has_user=False)
    assert line == CronLine("cyrusquota-export -o /m", PATH, line.pause)
    assert line.pause == pause


def test_a_crontab_sets_the_path_for_the_lines_below() -> None:
    text = (
        'PATH="/usr/local/sbin:/bin"\n# * * * * * root cyrusquota-export\n'
        "5 * * * *  root  nice cyrusquota-export -o /m\n* * * * * root cyrusquota-exporter\n"
    )
    (line,) = cron_lines(text, has_user=True)
    assert (line.command, line.path) == ("nice cyrusquota-export -o /m", "/usr/local/sbin:/bin")


def test_cron_does_not_find_the_program_in_its_own_path(site: Site) -> None:
    text = f"*/5 * * * * root cyrusquota-export -o {site.map}\n"
    site.cron(text)
    assert "program cyrusquota-export not found" in site.findings()["schedule-program"].said
    site.cron(f"PATH=/bin:/usr/local/sbin\n{text}")
    assert "schedule-program" not in site.findings()


@pytest.mark.parametrize(
    "name",
    [
        "var/spool/cron/crontabs/root",
        "var/spool/cron/root",
        "var/cron/tabs/root",
        "etc/crontab",
    ],
)
def test_crontabs_are_found_where_systems_have_them(name: str, site: Site) -> None:
    site.no_schedule()
    path = site.etc.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    user = "root " if name == "etc/crontab" else ""
    path.write_text(f"*/5 * * * * {user}/usr/local/sbin/cyrusquota-export -o {site.map} 2>&1\n")
    found = site.findings()
    assert found["schedule"].said.startswith(str(path))
    assert worst(found.values()).exit_status == 0


def test_a_service_that_follows_and_a_timer_are_schedules(site: Site) -> None:
    site.no_schedule()
    site.unit("cyrusquota.service", FOLLOW.format(site.map), wanted_by="multi-user.target")
    site.unit("cyrusquota-export.service", ONCE.format(site.map))
    site.unit("cyrusquota-export.timer", "[Timer]\nOnCalendar=*:0/5\n")
    found = site.findings()
    assert "cyrusquota.service" in found["schedule"].said
    assert {"schedule-twice", "schedule-disabled"} & set(found) == set()

    (site.etc / "systemd/system/multi-user.target.wants/cyrusquota.service").unlink()
    assert "schedule-disabled" in site.findings()
    wants = site.etc / "systemd/system/timers.target.wants"
    wants.mkdir()
    (wants / "cyrusquota-export.timer").symlink_to("/lib/systemd/system/cyrusquota-export.timer")
    found = site.findings()
    assert "cyrusquota-export.service" in found["schedule"].said
    assert worst(found.values()).exit_status == 0


def test_our_own_units_are_understood(site: Site) -> None:
    site.no_schedule()
    units = Path(__file__).parents[2] / "systemd"
    names = ("cyrusquota.service", "cyrusquota-export.service", "cyrusquota-export.timer")
    for name in names:
        site.unit(name, (units / name).read_text(), wanted_by="multi-user.target")
    found = site.findings()
    assert "writes no file" in found["schedule-map"].said
    found = site.findings(attrs.evolve(site.host(), exports_to="/m/map"))
    assert "writes /m/map, not" in found["schedule-map"].said
    assert "schedule-twice" in found


@pytest.mark.parametrize("is_booted", [True, False])
def test_debians_package_has_one_schedule_with_systemd_or_without(
    is_booted: bool, site: Site
) -> None:
    project = Path(__file__).parents[2]
    cron = (project / "debian" / "cyrusquota.cron.d").read_text()
    site.cron(cron.replace("/usr/sbin", "/usr/local/sbin"))
    for name in ("cyrusquota-export.service", "cyrusquota-export.timer"):
        site.unit(name, (project / "systemd" / name).read_text(), wanted_by="timers.target")
    if is_booted:
        (site.etc.parent / "run/systemd/system").mkdir(parents=True)
    found = site.findings()
    job = "systemd/system/cyrusquota-export.service" if is_booted else "cron.d/cyrusquota"
    assert found["schedule"].said.startswith(f"{site.etc}/{job}: ")
    assert {"schedule-twice", "schedule-program"} & set(found) == set()


def test_a_unit_that_has_failed(site: Site, tmp_path: Path) -> None:
    site.no_schedule()
    site.unit("cyrusquota-export.service", ONCE.format(site.map))
    site.unit("cyrusquota-export.timer", "", wanted_by="timers.target")
    host = attrs.evolve(site.host(), systemctl=fake_systemctl(tmp_path, "another.service"))
    assert "schedule-failed" not in site.findings(host)
    systemctl = fake_systemctl(tmp_path, "cyrusquota-export.service")
    found = site.findings(attrs.evolve(host, systemctl=systemctl))
    assert "cyrusquota-export.service: failed" in found["schedule-failed"].said


# --- the command ---


def _doctor(site: Site, *arguments: str) -> tuple[int, str]:
    words = ["doctor", "-C", str(site.conf), "--map", str(site.map), "--no-exim"]
    words += ["--root", str(site.etc.parent), *arguments]
    done = CliRunner().invoke(cyrusquota, words, standalone_mode=False)
    assert done.exception is None, done.output
    return done.return_value, done.output


def test_a_finding_says_what_is_so_and_what_to_do_on_lines_of_their_own(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    site.age(9000)
    status, out = _doctor(site, "-q")
    assert status == 2
    first, *middle, do, command = out.splitlines()
    text = " ".join([first, *middle]).split()
    assert " ".join(text) == (
        f"error map-old: {site.map}: renewed 2 hours 30 minutes ago, valid for 2 hours"
    )
    assert do == "         Do: run the export by hand, and read its messages:"
    assert command == f"             /usr/local/sbin/cyrusquota-export -o {site.map} -v"


@pytest.mark.parametrize("columns", ["", "60", "200"])
def test_text_is_wrapped_and_commands_are_not(
    columns: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    _held(site)
    site.write_header("bob", "user")
    out = _doctor(site, "-q")[1]
    command = f"/usr/local/sbin/cyrusquota-export -o {site.map} --accept-change 100"
    assert f"\n             {command}\n" in out
    assert "`quota -f user.bob`" in out
    longest = max(len(line) for line in out.splitlines() if "/" not in line)
    width = {"": 80, "60": 60, "200": 100}[columns]
    assert width - 25 < longest <= width
    # Nothing is lost or said twice.
    assert " ".join(out.split()).count("the map in place stays and is not renewed") == 1


def test_a_terminal_gives_width_and_colours(site: Site) -> None:
    site.age(9000)
    words = ["doctor", "-C", str(site.conf), "--map", str(site.map), "--no-exim", "-q"]
    words += ["--root", str(site.etc.parent)]
    status, shown = on_terminal(*words, columns=300)
    assert status == 2
    command = f"/usr/local/sbin/cyrusquota-export -o {site.map} -v"
    assert shown.startswith("\x1b[31merror   \x1b[0m map-old:")
    assert f"\n             \x1b[36m{command}\x1b[0m\n" in shown
    status, plain = on_terminal(*words, columns=300, environment={"NO_COLOR": "1"})
    assert plain == re.sub(r"\x1b\[[0-9]*m", "", shown)
    narrow = on_terminal(*words, columns=40, environment={"NO_COLOR": "1"})[1]
    assert plain.split() == narrow.split()
    lengths = [len(line) for line in narrow.splitlines() if "/" not in line]
    assert 30 < max(lengths) <= 40


def test_the_same_as_json(site: Site) -> None:
    site.map.chmod(0o666)
    status, out = _doctor(site, "--format", "json")
    found = {one["id"]: one for one in json.loads(out)["findings"]}
    assert status == 1
    assert found["map"]["severity"] == "ok"
    assert found["map-open"]["severity"] == "warning"
    command = f"chmod go-w {site.map}"
    assert found["map-open"]["do"] == f"take that right away: {command}"
    assert found["map-open"]["commands"] == [command]
    assert found["map-open"]["held_back"] == []


def test_nothing_is_changed(site: Site) -> None:
    before = _state(site.directory)
    _doctor(site)
    assert _state(site.directory) == before


def _state(directory: Path) -> dict[str, tuple[float, bytes]]:
    return {
        str(path): (path.stat().st_mtime, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
    }


def test_the_last_line_counts_what_was_found(site: Site) -> None:
    site.age(9000)
    site.no_schedule()
    site.set("lmtp_strict_quota: yes", "quota_db: flat")
    status, out = _doctor(site)
    assert status == 2
    assert out.endswith("\nNothing was changed. 1 error, 2 warnings, 2 notes.\n")
    assert _doctor(site, "--format", "json")[1].endswith("}\n  ]\n}\n")
