"""`cyrusquota explain` beside a real Cyrus and an Exim daemon: its verdict is what SMTP gets."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import attrs
import pytest
from click.testing import CliRunner

from cyrusquota.cli.main import cyrusquota

from . import commands, exim, smtp
from .cyrus import DOMAIN, Cyrus
from .exim_daemon import Daemon

pytestmark = pytest.mark.integration

FULL = b"%(S (999999 1) M (0) AS (0) NF (0))"
ROOMY = b"%(S (5 100000) M (7) AS (0) NF (0))"
JANE, BOB = f"jane@{DOMAIN}", f"bob@{DOMAIN}"
ALIASES = {
    "janey": "jane",
    "janes": "janey",
    "staff": "jane, bob",
    "hidden": "bob",
    "hole": ":blackhole:",
    "ghost": "nosuch",
}


@pytest.fixture(scope="module")
def cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({"quota_db": "twoskip"}) as running:
        running.start()
        for name in ("jane", "bob", "hidden", "postmaster"):
            running.create_user(name)
            running.set_quota(running.mailbox(name), 1000)
        yield running


@attrs.frozen
class Host:
    """Both servers, and the map between them."""

    cyrus: Cyrus
    daemon: Daemon
    map: Path

    def set(self, **users: bytes) -> None:
        """Give users these quotas."""
        self.cyrus.set_rows({f"user.{name}": value for name, value in users.items()})

    def export(self, *options: str) -> None:
        commands.export(self.cyrus.conf, self.map, *options)

    def edit(self, old: str, new: str) -> None:
        """Change the configuration of Exim, and let the daemon read it."""
        text = self.daemon.conf.read_text()
        assert old in text
        self.daemon.conf.write_text(text.replace(old, new))
        self.daemon.reload()

    def explain(self, asked: str, *options: str) -> dict[str, Any]:
        """What is found."""
        words = ["-C", str(self.cyrus.conf), "--exim-config", str(self.daemon.conf)]
        if "--map" not in options:
            words += ["--map", str(self.map)]
        done = commands.run_tool("explain", *words, "--format", "json", *options, asked)
        assert (done.returncode, done.stderr) == (0, b"")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def rcpt(self, address: str) -> int:
        """The daemon's reply."""
        with smtp.session(self.daemon.port) as talk:
            talk.begin()
            return talk.rcpt(address).code


@pytest.fixture
def host(cyrus: Cyrus, overquota: Path) -> Iterator[Host]:
    """Jane is over quota, and in the map; Bob has room."""
    with Daemon(overquota, aliases=ALIASES, lmtp_port=cyrus.lmtp_port) as daemon:
        found = Host(cyrus, daemon, overquota)
        found.set(jane=FULL, bob=ROOMY, hidden=FULL, postmaster=ROOMY)
        found.export()
        yield found


#: What SMTP and LMTP answer for each outcome.
CODES = {"deferred": (451, 452), "late": (250, 452), "accepted": (250, 250)}


def _assert_right(host: Host, found: dict[str, Any], address: str) -> None:
    """The servers answer as the verdict says."""
    user = f"{found['inbox'].removeprefix('user.')}@{DOMAIN}"
    codes = host.rcpt(address), host.cyrus.lmtp_rcpt(user).code
    assert codes == CODES[found["verdict"]["outcome"]]


def test_while_all_is_right_the_answers_agree(host: Host) -> None:
    for address, outcome in (
        (JANE, "deferred"),
        (f"jane+x@{DOMAIN}", "deferred"),
        (BOB, "accepted"),
    ):
        found = host.explain(address)
        assert (found["verdict"]["outcome"], found["agree"]) == (outcome, True)
        assert (found["differences"], found["not_known"]) == ([], [])
        _assert_right(host, found, address)


# --- what is wrong with the map ---


def _exempt(host: Host) -> None:
    host.export("--exempt", "jane")


def _postmaster(host: Host) -> None:
    host.set(postmaster=FULL)
    host.export()


def _became_full(host: Host) -> None:
    host.set(bob=FULL)


def _held_back(host: Host) -> None:
    lines = host.map.read_text().splitlines(keepends=True)
    head = "".join(line for line in lines if line.startswith("#"))
    host.map.write_text(head + "".join(f"u{number}: :defer: x\n" for number in range(100)))


def _too_old(host: Host) -> None:
    then = time.time() - 9000
    os.utime(host.map, (then, then))


def _other_source(host: Host) -> None:
    host.map.unlink()
    commands.export_dump({"user.other": "2000 1"}, host.map)


#: What is done; whom explain is asked about, with which options; the reason that it finds.
MAPS: dict[str, tuple[Callable[[Host], None], list[str], str]] = {
    "exempt": (_exempt, ["--exempt", "jane", JANE], "jane is exempt (--exempt)"),
    "postmaster": (_postmaster, [f"postmaster@{DOMAIN}"], "postmaster is never listed"),
    "became full": (_became_full, [BOB], "a run now lists them"),
    "held back": (_held_back, [JANE], "the next map is held back: 2 entries would be added"),
    "too old": (_too_old, [JANE], "2 hours 30 minutes ago, and is valid for 2 hours"),
    "other source": (_other_source, [JANE], "the map was made from"),
    "missing": (lambda host: host.map.unlink(), [JANE], "there is no map"),
}


@pytest.mark.parametrize("case", list(MAPS))
def test_why_the_map_lacks_a_user_is_found(host: Host, case: str) -> None:
    spoil, asked, why = MAPS[case]
    spoil(host)
    found = host.explain(asked[-1], *asked[:-1])
    assert found["verdict"]["outcome"] == "late"
    assert why in found["differences"][0]["why"]
    assert found["agree"] is False
    _assert_right(host, found, asked[-1])


def test_the_commands_about_a_map_that_is_held_back_do_what_they_say(host: Host) -> None:
    _held_back(host)
    look, accept = host.explain(JANE)["differences"][0]["commands"]
    assert _run(look).startswith("+ hidden: :defer: ")
    assert "would be held back" in _run(look)
    _run(accept)
    assert host.explain(JANE)["agree"]
    assert host.rcpt(JANE) == 451


def _run(command: str) -> str:
    """What a command line of the export prints."""
    program, *words = shlex.split(command)
    assert program.endswith("cyrusquota-export")
    done = commands.run_exporter(*words)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_a_user_who_has_made_room_is_deferred_until_the_next_run(host: Host) -> None:
    host.set(jane=ROOMY)
    found = host.explain(JANE)
    assert found["verdict"]["outcome"] == "deferred"
    assert "a run now leaves them out" in found["differences"][0]["why"]
    assert (host.rcpt(JANE), host.cyrus.lmtp_rcpt(JANE).code) == (451, 250)
    host.export()
    assert host.explain(JANE)["agree"]


# --- what is wrong with Exim ---


def _other_map(host: Host) -> None:
    other = host.map.with_name("other")
    shutil.copy(host.map, other)
    other.chmod(0o644)
    text = other.read_text().replace("jane: ", "joan: ")
    other.write_text(text)
    host.edit(f"CYRUSQUOTA_MAP = {host.map}", f"CYRUSQUOTA_MAP = {other}")


def _other_key(host: Host) -> None:
    macro = f"CYRUSQUOTA_KEY = {exim.ADDRESS_KEY}\nCYRUSQUOTA_MAP ="
    host.edit("CYRUSQUOTA_MAP =", macro)


def _closed(host: Host) -> None:
    host.map.chmod(0o600)


def _other_format(host: Host) -> None:
    host.map.unlink()
    host.export("--map-format", "cdb")


def _late(host: Host) -> None:
    early = "early:\n  driver = accept\n  domains = +local_domains\n  transport = cyrus_lmtp\n\n"
    host.edit("begin routers\n", f"begin routers\n\n{early}")


def _domains(host: Host) -> None:
    host.edit("CYRUSQUOTA_MAP =", "CYRUSQUOTA_DOMAINS = example.com\nCYRUSQUOTA_MAP =")


def _no_router(host: Host) -> None:
    host.edit(f".include {exim.ROUTER}", "")


def _no_acl(host: Host) -> None:
    host.edit("  require verify = recipient\n", "")


#: What is done, and the reason.
EXIMS: dict[str, tuple[Callable[[Host], None], str]] = {
    "other map": (_other_map, "the router overquota uses"),
    "other key": (_other_key, f"the router overquota looks up {JANE}, and the entry is for jane"),
    "closed": (_closed, "cannot read"),
    "other format": (_other_format, "the map is cdb, and the router overquota expects lsearch"),
    "late": (_late, "is not reached: the router early takes the address before"),
    "domains": (_domains, "does not look into the map: skipped: domains mismatch"),
    "no router": (_no_router, "no router of Exim looks recipients up in a map"),
}


@pytest.mark.parametrize("case", list(EXIMS))
def test_why_exim_does_not_use_the_map_is_found(host: Host, case: str) -> None:
    spoil, why = EXIMS[case]
    spoil(host)
    found = host.explain(JANE)
    assert found["verdict"]["outcome"] == "late"
    assert why in found["differences"][0]["why"]
    _assert_right(host, found, JANE)


def test_an_acl_that_asks_no_router_is_found(host: Host) -> None:
    _no_acl(host)
    found = host.explain(JANE)
    assert "verify = recipient is not in the ACL" in found["differences"][0]["why"]
    assert host.rcpt(JANE) == 250


def test_another_router_that_defers_is_named(host: Host) -> None:
    trouble = "trouble:\n  driver = redirect\n  allow_defer\n  data = :defer: broken\n\n"
    host.edit("begin routers\n", f"begin routers\n\n{trouble}")
    found = host.explain(BOB)
    assert found["verdict"]["text"] == (
        f"{BOB} has room, but Exim defers their mail: the router trouble defers."
    )
    assert host.rcpt(BOB) == 451


def test_a_domain_that_exim_does_not_know_is_named(host: Host) -> None:
    host.edit("local_domains = example.net : example.com", "local_domains = example.com")
    host.edit("  data = :blackhole:", "  allow_fail\n  data = :fail: no such domain")
    (difference,) = host.explain(JANE)["differences"]
    assert difference["why"] == f"{DOMAIN} is not in Exim's local_domains"
    assert host.rcpt(JANE) == 550


def test_a_daemon_that_was_not_reloaded_is_found_and_reloaded(host: Host) -> None:
    start = int(time.time())
    while int(time.time()) == start:
        time.sleep(0.05)
    text = host.daemon.conf.read_text()
    host.daemon.conf.write_text(
        text.replace(f"CYRUSQUOTA_MAP = {host.map}", "CYRUSQUOTA_MAP = /no")
    )
    host.daemon.reload()
    while int(time.time()) <= start + 1:
        time.sleep(0.05)
    host.daemon.conf.write_text(text)
    (difference,) = host.explain(JANE)["differences"]
    assert difference["what"] == "Exim's daemon does not use this configuration yet"
    assert host.rcpt(JANE) == 250
    starts = host.daemon.log().count("daemon started")
    (command,) = difference["commands"]
    subprocess.run(["sh", "-c", command], check=True)
    host.daemon.wait_for_start(starts + 1)
    assert host.explain(JANE)["agree"]
    assert host.rcpt(JANE) == 451


# --- aliases ---


@pytest.mark.parametrize("alias", ["janey", "janes"])
def test_an_alias_is_explained_by_its_user(host: Host, alias: str) -> None:
    found = host.explain(f"{alias}@{DOMAIN}")
    assert found["verdict"]["text"].startswith(
        f"{alias}@{DOMAIN} is an alias of {JANE}, who is over"
    )
    assert (found["inbox"], found["agree"]) == ("user.jane", True)
    _assert_right(host, found, f"{alias}@{DOMAIN}")


def test_a_list_is_accepted_whoever_is_over_quota(host: Host) -> None:
    found = host.explain(f"staff@{DOMAIN}")
    assert found["verdict"]["text"].endswith(f"1 of them is over quota: {JANE}.")
    assert {one["target"]: one["reply"][:3] for one in found["route"]} == {JANE: "452", BOB: "250"}
    assert host.rcpt(f"staff@{DOMAIN}") == 250


def test_an_inbox_that_an_alias_hides_is_told_where_its_mail_goes(host: Host) -> None:
    found = host.explain(f"hidden@{DOMAIN}")
    assert (found["inbox"], found["verdict"]["outcome"]) == ("user.bob", "accepted")
    assert "user.hidden" in found["notes"][0]
    assert host.rcpt(f"hidden@{DOMAIN}") == 250
    found = host.explain("user.hidden")
    assert (found["inbox"], found["verdict"]["outcome"]) == ("user.hidden", "elsewhere")


def test_an_alias_of_nobody_is_an_unknown_user(host: Host) -> None:
    words = ["explain", "-C", str(host.cyrus.conf), "--exim-config", str(host.daemon.conf)]
    done = commands.run_tool(*words, f"ghost@{DOMAIN}")
    assert (done.returncode, done.stdout) == (commands.UNKNOWN_USER, b"")
    assert b"is an alias of nosuch@example.net, and Cyrus does not know that user" in done.stderr
    assert done.stderr.endswith(b"Exim accepts the address all the same, by the router cyrus\n")


# --- without rights ---


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_somebody_who_may_not_look_is_told_so(host: Host) -> None:
    words = ["explain", "-C", str(host.cyrus.conf), "--no-exim", "--settings", "", JANE]
    # As root first, which imports all there is to import.
    assert CliRunner().invoke(cyrusquota, words).exit_code == 0
    host.cyrus.lib.chmod(0o750)
    try:
        with _as_nobody():
            done = CliRunner().invoke(cyrusquota, words)
    finally:
        host.cyrus.lib.chmod(0o755)
    assert getattr(done.exception, "exit_status", None) == 77
    assert "permission denied; run as root or as the Cyrus user" in str(done.exception)


def test_a_header_that_may_not_be_read_leaves_the_verdict_open(host: Host) -> None:
    words = ["explain", "-C", str(host.cyrus.conf), "--no-exim", "--settings", ""]
    words += ["--map", str(host.map), "--format", "json", JANE]
    assert CliRunner().invoke(cyrusquota, words).exit_code == 0
    databases = [host.cyrus.lib / name for name in ("quotas.db", "mailboxes.db")]
    for path in databases:
        path.chmod(0o644)
    try:
        with _as_nobody():
            found = json.loads(CliRunner().invoke(cyrusquota, words).stdout)
    finally:
        for path in databases:
            path.chmod(0o600)
    assert found["agree"] is None
    assert found["verdict"]["text"].startswith("jane is probably over quota")
    assert any("which quota root counts: " in said for said in found["not_known"])
