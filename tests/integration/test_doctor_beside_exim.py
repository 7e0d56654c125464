"""The doctor beside a real Exim: every variant in exim/ is well, and each fault is found."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Callable, Iterator, Optional

import attrs
import pytest

from cyrusquota import doctor
from cyrusquota.doctor import KINDS, Finding, Severity, SharedEngine
from cyrusquota.doctor.engine import InspectedEngine
from cyrusquota.doctor.kinds_exim import EXIM_KINDS
from cyrusquota.errors import EngineUnreachable
from cyrusquota.maps.installed import installed_map
from tests.exim_faults import CONDITION, EXIM_CASES, ROUTER, rewritten
from tests.site import END, START, Site

from . import commands, exim, smtp
from .cyrus import DOMAIN, Cyrus
from .exim_daemon import Daemon

pytestmark = pytest.mark.integration

#: The exit status of `exim -bv` about an address that it does not accept.
UNROUTEABLE = 2
VARIANTS = {
    ".": (),
    "address": ("--key", "auto"),
    "cdb": ("--map-format", "cdb"),
    "headroom": ("--headroom", "10G"),
    "exemptions": (),
    "refuse": ("--refuse",),
    "headroom-refuse": ("--headroom", "10G", "--refuse"),
}


#: Sends mail for the domain of the users to another host.
BACKEND = """\
backend:
  driver = manualroute
  domains = +relay_to_domains
  transport = remote
  route_list = * 192.0.2.11
"""


@pytest.fixture
def site(needs_exim: None) -> Iterator[Site]:
    with exim.readable_directory() as directory:
        made = Site(directory)
        made.write_exim()
        yield made


def _found(site: Site) -> dict[str, Finding]:
    return site.findings(site.host(exim.program()))


@pytest.mark.parametrize("kind", list(EXIM_CASES))
def test_each_kind_is_found(kind: str, site: Site) -> None:
    EXIM_CASES[kind](site)
    host = site.host(exim.program())
    if kind == "router-map":
        host = attrs.evolve(host, map=str(site.map))
    found = site.findings(host)
    assert kind in found, list(found)
    assert found[kind].said
    assert found[kind].do or found[kind].kind.severity is Severity.OK


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_is_well(variant: str, site: Site) -> None:
    site.write_exim(variant)
    if variant == "address":
        site.set("virtdomains: userid", "defaultdomain: example.net")
    rewritten(site, *VARIANTS[variant])
    found = _found(site)
    assert {name for name, one in found.items() if one.kind.severity.exit_status} == set()
    assert {"map", "exim", "router", "full-deferred", "good-accepted", "schedule"} <= set(found)
    assert installed_map(site.map).entries


def test_a_map_in_another_format_is_written_again_by_what_is_advised(site: Site) -> None:
    EXIM_CASES["router-format"](site)
    (command,) = _found(site)["router-format"].commands
    words = shlex.split(command)
    assert words[1:] == ["-o", str(site.map), "--map-format", "lsearch"]
    done = commands.run_export(site.conf, site.map, *words[3:])
    assert done.returncode == 0
    found = _found(site)
    assert "router-format" not in found
    assert "full-deferred" in found


def test_the_domain_of_users_can_be_given(site: Site) -> None:
    site.edit_exim("^qualify_domain.*", "qualify_domain = elsewhere.example")
    # A name among the local domains will do.
    assert _found(site)["good-accepted"].said == "ann@example.net verified"
    site.edit_exim("^domainlist.*", r"domainlist local_domains = \\N^example\\.net$\\N")
    assert "good-refused" in _found(site)
    host = attrs.evolve(site.host(exim.program()), domain="example.net")
    found = site.findings(host)
    assert found["good-accepted"].said == "ann@example.net verified"
    assert "jane@example.net" in found["full-deferred"].said


def _found_on_mx(site: Site, key: str = "local") -> dict[str, Finding]:
    """What there is about Exim on an MX without Cyrus, whose map a mirror wrote."""
    host = attrs.evolve(site.host(exim.program()), map=str(site.map), domain="example.net")

    def unreachable() -> InspectedEngine:
        raise EngineUnreachable("not asked")

    shared = SharedEngine(unreachable, map=str(site.map), key=key)
    kinds = {kind.id for kind in EXIM_KINDS}
    found = doctor.examine_mx(host, shared)
    return {one.kind.id: one for one in found if one.kind.id in kinds}


def _relay(site: Site) -> None:
    """Have Exim send mail for the users' domain on to a backend, as an MX does."""
    site.edit_exim("^domainlist local_domains.*", "domainlist local_domains = mx.example.net")
    relaying = "domainlist relay_to_domains = example.net\nCYRUSQUOTA_DOMAINS = +relay_to_domains\n"
    site.exim_conf.write_text(relaying + site.exim_conf.read_text())
    site.edit_exim("^cyrus:(\n.+)*\n", BACKEND)
    site.edit_exim("^cyrus_lmtp:(\n.+)*\n", "remote:\n  driver = smtp\n")


def test_an_mx_that_relays_is_well(site: Site) -> None:
    _relay(site)
    found = _found_on_mx(site)
    assert set(found) == {"exim", "exim-start", "router", "full-deferred"}
    assert "before backend, which delivers" in found["router"].said
    assert "jane@example.net" in found["full-deferred"].said


def test_an_mx_that_looks_up_local_domains_only_defers_nobody(site: Site) -> None:
    _relay(site)
    site.edit_exim("^CYRUSQUOTA_DOMAINS = .relay_to_domains\n")
    found = _found_on_mx(site)
    assert "example.net" in found["router-domains"].said
    assert "full-accepted" in found["router-domains"].held_back


def test_an_mx_that_relays_before_it_looks_up_defers_nobody(site: Site) -> None:
    _relay(site)
    site.edit_exim("^backend:(\n.+)*\n")
    site.edit_exim("^begin routers\n", f"begin routers\n\n{BACKEND}\n")
    found = _found_on_mx(site)
    assert "after backend, which delivers" in found["router-late"].said
    assert "full-accepted" in found["router-late"].held_back


def test_an_mx_without_a_router_gets_one_that_needs_no_imapd_conf(site: Site) -> None:
    site.edit_exim(f"{START}(.*\n)*{END}")
    (command,) = _found_on_mx(site, "address")["router-missing"].commands
    assert command == f"cyrusquota router --key address --max-age 300 --map {site.map}"


def test_the_recipe_of_old_is_known_for_what_it_lacks(site: Site) -> None:
    """A bare lookup in `data`, as it was published in 2005."""
    site.edit_exim(
        ROUTER,
        "overquota:\n  driver = redirect\n  verify_only\n  local_part_suffix = +imap\n"
        "  local_part_suffix_optional\n  allow_defer\n"
        "  data = ${lookup{$local_part}lsearch{CYRUSQUOTA_MAP}}\n",
    )
    found = _found(site)
    assert {"router-senders", "router-closed", "router-ageless", "router-open"} <= set(found)
    assert "full-deferred" in found


def test_a_map_too_old_for_its_router_is_asked_nothing(site: Site) -> None:
    site.edit_exim("^CYRUSQUOTA_MAP", "CYRUSQUOTA_MAX_AGE = 600\nCYRUSQUOTA_MAP")
    site.age(601)
    found = _found(site)
    assert found["map-old"].said.endswith("ago, valid for 10 minutes")
    assert not {"full-deferred", "full-accepted"} & set(found)
    site.age(500)
    assert {"map-late", "full-deferred"} <= set(_found(site))


def test_an_age_in_other_words_is_an_age(site: Site) -> None:
    site.edit_exim(
        CONDITION,
        "  condition = ${if and{{exists{CYRUSQUOTA_MAP}}{<\\\n"
        "    {${eval:$tod_epoch-${extract{mtime}{${stat:CYRUSQUOTA_MAP}}}}}{7200}}}}\n",
    )
    found = _found(site)
    assert not {"router-ageless", "router-closed"} & set(found)
    assert "full-deferred" in found


def _found_by_nobody(site: Site) -> dict[str, Finding]:
    """Return what is found where Exim is run by a user who is none of its administrators."""
    program = site.directory / "exim"
    program.write_text(
        "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups"
        f' {exim.program()} "$@"\n'
    )
    program.chmod(0o755)
    return site.findings(site.host(str(program)))


def test_an_exim_that_answers_to_admins_only_is_not_seen(site: Site) -> None:
    site.edit_exim("^primary_hostname", "commandline_checks_require_admin\nprimary_hostname")
    found = _found_by_nobody(site)
    assert "require admin" in found["not-seen"].said
    assert "exim-bad" not in found
    assert str(site.map) in found["map"].said


def test_a_reason_that_exim_tells_admins_only_is_not_known(site: Site) -> None:
    found = _found_by_nobody(site)
    assert found["not-seen"].said.endswith("; Exim tells only its administrators why")
    assert "full-otherwise" not in found


def test_the_router_for_addresses_is_not_advised_where_it_is(site: Site) -> None:
    site.set("virtdomains: userid", "defaultdomain: example.net")
    site.map.unlink()
    site.write_map()
    assert "virtual-domains" in _found(site)
    site.write_exim("address")
    found = _found(site)
    assert "full-deferred" in found
    assert "virtual-domains" not in found


def test_the_command_says_all_that_is_found(site: Site) -> None:
    site.edit_exim("^qualify_domain.*", "qualify_domain = elsewhere.example")
    site.edit_exim("^domainlist.*", r"domainlist local_domains = \\N^example\\.net$\\N")
    words = ["doctor", "-C", str(site.conf), "--exim", str(exim.program())]
    words += ["--exim-config", str(site.exim_conf), "--root", str(site.etc.parent)]
    done = commands.run_tool(*words, "--domain", "example.net")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ok       good-accepted: ann@example.net verified\n" in done.stdout
    assert done.stdout.endswith(b"\nNothing was changed. All is well.\n")

    done = commands.run_tool(*words, "--quiet")
    assert (done.returncode, done.stderr) == (1, b"")
    first, *_, do, more, command, held_back = done.stdout.decode().splitlines()
    assert first.startswith("warning  good-refused: ann")
    assert do == "         Do: name the domain of your users with --domain, or see which router it"
    assert more == "             was:"
    asked = f"{exim.program()} -C {site.exim_conf} -d+route -bv ann"
    assert command == f"             {asked}"
    assert held_back == "         Held back until this is done: full-otherwise"
    # The command is whole: it says which routers were tried.
    said = subprocess.run(asked.split(), capture_output=True, text=True)
    assert said.returncode == UNROUTEABLE
    assert "overquota router" in said.stderr


# --- what follows from something else ---


def _closed_map(site: Site) -> Callable[[], object]:
    site.map.chmod(0o600)
    return lambda: site.map.chmod(0o644)


def _all_deferred(site: Site) -> Callable[[], object]:
    EXIM_CASES["good-deferred"](site)
    return lambda: site.edit_exim("^  local_parts = [*]$", "  local_parts = jane")


def _not_reloaded(site: Site) -> Callable[[], object]:
    site.start_exim(in_seconds=-60)
    return lambda: site.start_exim(in_seconds=60)


def _catch_all(site: Site) -> Callable[[], object]:
    conf = site.conf.read_text()
    site.set("lmtp_catchall_mailbox: bob")
    return lambda: site.conf.write_text(conf)


def _no_delivery(site: Site) -> Callable[[], object]:
    conf = site.exim_conf.read_text()
    EXIM_CASES["delivery-missing"](site)
    transport = site.exim_conf.read_text().partition("cyrus_lmtp:\n")[2].partition("\nbegin")[0]
    before = conf.partition("cyrus_lmtp:\n")[2].partition("\nbegin")[0]
    return lambda: site.edit_exim(f"^{re.escape(transport)}", before)


def _nothing(site: Site) -> None:
    pass


#: What is wrong, what follows from it, and how that comes about by itself.
FOLLOWS = [
    ("map-closed", _closed_map, "full-accepted", EXIM_CASES["full-accepted"]),
    ("good-deferred", _all_deferred, "full-otherwise", _nothing),
    ("catch-all", _catch_all, "unknown-accepted", EXIM_CASES["unknown-accepted"]),
    ("delivery-missing", _no_delivery, "good-refused", EXIM_CASES["good-refused"]),
    ("exim-stale", _not_reloaded, "full-deferred", _nothing),
    ("exim-stale", _not_reloaded, "good-accepted", _nothing),
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
    found = _found(site)
    assert consequence not in found
    is_bad = KINDS[consequence].severity is not Severity.OK
    assert (consequence in found[cause].held_back) is is_bad
    repair()
    site.start_exim(in_seconds=60)
    found = _found(site)
    assert cause not in found
    assert consequence in found


# --- transports that ignore quotas ---

TRANSPORT = r"^cyrus_lmtp:\n(?:  .*\n)+"
SMTP = "driver = smtp\n  hosts = 127.0.0.1\n  allow_localhost\n  lmtp_ignore_quota"
DELIVER = "/usr/lib/cyrus/bin/deliver"
#: What a transport has, and the option that the doctor names.
TRANSPORTS = [
    ("driver = lmtp\n  socket = /run/cyrus/socket/lmtp\n  ignore_quota", "ignore_quota"),
    (f"{SMTP}\n  protocol = lmtp", "lmtp_ignore_quota"),
    (f"driver = pipe\n  command = {DELIVER} -q $local_part", "deliver -q"),
    (f"driver = pipe\n  command = {DELIVER} -a cyrus -eq -m INBOX $local_part", "deliver -q"),
    ("driver = pipe\n  command = /usr/sbin/cyrdeliver --ignore-quota $local_part", "deliver -q"),
    # Without LMTP the option has no effect; `-r -q` is a return path.
    (SMTP, None),
    ("driver = lmtp\n  socket = /run/cyrus/socket/lmtp", None),
    (f"driver = pipe\n  command = {DELIVER} -r -q $local_part", None),
    ("driver = pipe\n  command = /usr/bin/procmail -q $local_part", None),
]


@pytest.mark.parametrize(("transport", "option"), TRANSPORTS)
def test_a_transport_that_ignores_quotas_is_named_with_its_option(
    site: Site, transport: str, option: Optional[str]
) -> None:
    site.edit_exim(TRANSPORT, f"cyrus_lmtp:\n  {transport}\n")
    found = _found(site)
    assert "exim-bad" not in found
    said = found["transport-ignores-quota"].said if "transport-ignores-quota" in found else None
    expected = f"transport cyrus_lmtp: {option}; used by router cyrus"
    assert said == (None if option is None else expected)


def test_a_transport_that_no_router_uses_ignores_what_it_likes(site: Site) -> None:
    site.edit_exim("^begin retry", f"other:\n  {TRANSPORTS[0][0]}\n\nbegin retry")
    assert "transport-ignores-quota" not in _found(site)
    # The name is worked out for each message, so it may be that one.
    site.edit_exim("transport = cyrus_lmtp", "transport = ${lc:OTHER}")
    assert "used by router cyrus" in _found(site)["transport-ignores-quota"].said


def test_explain_knows_that_exim_tells_cyrus_to_ignore_quotas(site: Site) -> None:
    words = ["explain", "-C", str(site.conf), "--exim", str(exim.program()), "--format", "json"]
    words += ["--exim-config", str(site.exim_conf), "jane"]
    assert json.loads(commands.run_tool(*words).stdout)["agree"]
    site.edit_exim("^  rcpt_include_affixes", "  ignore_quota\n  rcpt_include_affixes")
    (difference,) = json.loads(commands.run_tool(*words).stdout)["differences"]
    assert "ignore_quota in transport cyrus_lmtp" in difference["why"]
    # For the other two resources Cyrus refuses all the same.
    site.users["jane"] = "%(S (0) M (0) AS (0) NF (9 1))"
    site.write_users()
    assert json.loads(commands.run_tool(*words).stdout)["agree"]


#: What each user is over in.
OVER = {
    "storage": b"%(S (999999 1) M (0) AS (0) NF (0))",
    "message": b"%(S (0) M (9 1) AS (0) NF (0))",
    "annotations": b"%(S (0) M (0) AS (99999 1) NF (0))",
    "folders": b"%(S (0) M (0) AS (0) NF (9 1))",
}


@pytest.mark.parametrize(
    ("option", "delivered"), [("", set()), ("  lmtp_ignore_quota", {"storage", "message"})]
)
def test_over_a_transport_that_ignores_quotas_cyrus_takes_mail_for_two_resources(
    needs_exim: None, needs_cyrus: None, overquota: Path, option: str, delivered: set[str]
) -> None:
    """Delivered by the real Exim to the real lmtpd: what the finding of the doctor rests on."""
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.start()
        for user, value in OVER.items():
            cyrus.create_user(user)
            cyrus.set_quota(cyrus.mailbox(user), 1000)
            cyrus.set_rows({f"user.{user}": value})
        daemon = Daemon(overquota, lmtp_port=cyrus.lmtp_port)
        text = daemon.conf.read_text()
        daemon.conf.write_text(
            text.replace("  hosts_override\n", f"  hosts_override\n  {option}\n")
        )
        with daemon, smtp.session(daemon.port) as talk:
            talk.begin()
            for user in OVER:
                assert talk.rcpt(f"{user}@{DOMAIN}").code == 250
            talk.send("Subject: hello", "", "Hello.")
            for user in OVER:
                # `=>` for the first of a message, `->` for others.
                sign = "> " if user in delivered else " == "
                daemon.wait_for_log(f"{sign}{user}@{DOMAIN} ")
