"""The doctor on a host without Exim: each kind of finding, provoked on a host that is well."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional

import attrs
import pytest
from click.testing import CliRunner

from cyrusquota.cli.main import cyrusquota
from cyrusquota.doctor import KINDS, Severity, worst
from cyrusquota.doctor.findings import finding
from cyrusquota.doctor.map_file import closed_to, described
from cyrusquota.doctor.schedule import PATH, CronLine, cron_lines
from tests.exim_faults import EXIM_CASES
from tests.recorded_fixtures import FIXTURES
from tests.site import FULL, Site, fake_systemctl

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
    assert {*CASES, *EXIM_CASES, *OWN_TESTS} == set(KINDS)


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
    assert "cyr_dbtool" in found.do


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
    assert str(site.map.parent) in site.findings()["map-open"].do


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
        if is_root:
            return closed_to("daemon", str(path))
        with _ordinary():
            return closed_to("daemon", str(path))

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


def test_a_line_has_severity_kind_what_is_so_and_what_to_do(site: Site) -> None:
    status, out = _doctor(site)
    assert status == 0
    assert out.startswith("ok       imapd-conf: ")
    site.age(9000)
    status, out = _doctor(site, "-q")
    assert status == 2
    assert out.startswith(f"error    map-old: {site.map}: ")
    assert out.endswith(f"; run by hand: cyrusquota-export -v -o {site.map}\n")


def test_the_same_as_json(site: Site) -> None:
    site.map.chmod(0o666)
    status, out = _doctor(site, "--format", "json")
    found = {one["id"]: one for one in json.loads(out)["findings"]}
    assert status == 1
    assert found["map"]["severity"] == "ok"
    assert found["map-open"]["severity"] == "warning"
    assert found["map-open"]["do"] == f"chmod go-w {site.map}"


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
