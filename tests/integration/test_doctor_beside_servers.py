"""The doctor beside a real Cyrus, and a real Exim daemon that delivers to it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest

from . import commands, exim, smtp
from .cyrus import DOMAIN, Cyrus
from .exim_daemon import Daemon

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("needs_cyrus", "needs_exim"),
]

STRANGER = "stranger@remote.test"


@pytest.fixture
def cyrus() -> Iterator[Cyrus]:
    """A server where jane is full, and bob has room."""
    with Cyrus({"quota_db": "twoskip"}) as running:
        (running.directory / "root").mkdir()
        running.start()
        for user, size in (("jane", 1), ("bob", 1000)):
            running.create_user(user)
            running.set_quota(running.mailbox(user), storage_kib=size)
        running.fill("jane")
        yield running


def _found(cyrus: Cyrus, daemon: Optional[Daemon] = None) -> dict[str, dict[str, Any]]:
    """The findings by their kind."""
    options = ["--no-exim"]
    if daemon is not None:
        options = ["--exim", str(exim.program()), "--exim-config", str(daemon.conf)]
        options += ["--map", str(daemon.overquota)]
    found = commands.findings(cyrus.conf, cyrus.directory / "root", *options)
    return {one["id"]: one for one in found}


def _bad(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, one in found.items() if one["severity"] in ("warning", "error")}


def _answers(daemon: Daemon, *users: str) -> list[int]:
    with smtp.session(daemon.port) as talk:
        talk.begin()
        return [talk.rcpt(f"{user}@{DOMAIN}").code for user in users]


# --- a daemon that goes on with its old configuration ---


def test_a_daemon_that_was_not_reloaded_answers_as_before(cyrus: Cyrus, overquota: Path) -> None:
    commands.export(cyrus.conf, overquota)
    daemon = Daemon(overquota, lmtp_port=cyrus.lmtp_port)
    text = daemon.conf.read_text()
    daemon.conf.write_text(text.replace(f".include {exim.ROUTER}", ""))
    with daemon:
        assert "router-missing" in _found(cyrus, daemon)
        assert _answers(daemon, "jane", "bob") == [250, 250]
        _later_than_the_start(daemon, text)
        found = _found(cyrus, daemon)
        assert "exim-stale" in _bad(found)
        # Exim itself, asked by -bv, uses the new one.
        assert not {"full-deferred", "good-accepted", "router-missing"} & set(found)
        assert _answers(daemon, "jane", "bob") == [250, 250]

        (command,) = found["exim-stale"]["commands"]
        starts = daemon.log().count("daemon started")
        subprocess.run(["sh", "-c", command], check=True)
        daemon.wait_for_start(starts + 1)
        found = _found(cyrus, daemon)
        assert "exim-stale" not in found
        assert {"exim-start", "full-deferred", "good-accepted"} <= set(found)
        assert _answers(daemon, "jane", "bob") == [451, 250]


def _later_than_the_start(daemon: Daemon, text: str) -> None:
    """Write the configuration in another second than the one of the log."""
    start = int(time.time())
    while int(time.time()) == start:
        time.sleep(0.05)
    daemon.conf.write_text(text)


def test_a_start_that_the_log_does_not_have_is_not_known(cyrus: Cyrus, overquota: Path) -> None:
    commands.export(cyrus.conf, overquota)
    with Daemon(overquota, lmtp_port=cyrus.lmtp_port) as daemon:
        assert "exim-start" in _found(cyrus, daemon)
        log = daemon.directory / "log" / "mainlog"
        os.replace(log, log.with_name("mainlog.1"))
        assert "exim-start" in _found(cyrus, daemon)
        text = daemon.conf.read_text()
        daemon.conf.write_text(text.replace(f"{log.parent}/%slog", "syslog"))
        found = _found(cyrus, daemon)
        assert "Exim logs to syslog only" in found["exim-start-unknown"]["said"]
        assert found["exim-start-unknown"]["severity"] == "note"


# --- users who do not exist ---


def test_mail_for_unknown_users_that_exim_accepts_is_bounced_to_a_stranger(
    cyrus: Cyrus, overquota: Path
) -> None:
    commands.export(cyrus.conf, overquota)
    with Daemon(overquota, lmtp_port=cyrus.lmtp_port) as daemon:
        found = _found(cyrus, daemon)
        assert _bad(found) >= {"unknown-accepted"}
        assert ": accepted by router cyrus; " in found["unknown-accepted"]["said"]
        with smtp.session(daemon.port) as talk:
            talk.begin(STRANGER)
            assert talk.rcpt(f"janet@{DOMAIN}").code == 250
            talk.send("Subject: hello", "", "Hello.")
        assert "550" in daemon.wait_for_log(f"** janet@{DOMAIN} ")
        # Exim has a router of its own for the rest of the world here.
        assert "R=elsewhere" in daemon.wait_for_log(f"=> :blackhole: <{STRANGER}>")


def _ways(cyrus: Cyrus, directory: Path) -> dict[str, tuple[str, str]]:
    """The ways of exim/README.md to refuse unknown users: macros, and lines of the ACL for RCPT."""
    users = directory / "users"
    users.write_text("jane:\nbob:\n")
    return {
        "users": (f"CYRUSQUOTA_USERS = {users}\n", ""),
        "smmapd": (f"CYRUSQUOTA_SMMAPD = inet:127.0.0.1:{cyrus.smmap_port}\n", ""),
        "callout": (
            f"CYRUSQUOTA_LMTP_PORT = {cyrus.lmtp_port}\n",
            "  deny condition = ${if eq{$address_data}{cyrus_question}}\n"
            "       !verify = recipient/callout=3s,defer_ok\n",
        ),
    }


@pytest.mark.parametrize("way", ["users", "smmapd", "callout"])
def test_a_host_that_refuses_unknown_users_is_well(way: str, cyrus: Cyrus, overquota: Path) -> None:
    commands.export(cyrus.conf, overquota)
    macros, acl = _ways(cyrus, overquota.parent)[way]
    variant = exim.DIRECTORY / way
    daemon = Daemon(overquota, lmtp_port=cyrus.lmtp_port)
    text = macros + daemon.conf.read_text()
    own = f".include {exim.ROUTER}\n"
    text = text.replace(own, f"{own}.include {variant}/router.conf\n")
    text = text.replace("  require verify = recipient\n", f"  require verify = recipient\n{acl}")
    if (variant / "transport.conf").exists():
        begin = "begin transports\n"
        text = text.replace(begin, f"{begin}.include {variant}/transport.conf\n")
    daemon.conf.write_text(text)
    with daemon:
        assert _answers(daemon, "janet", "bob", "jane") == [550, 250, 451]
        found = _found(cyrus, daemon)
    assert "unknown-accepted" not in found
    assert {"full-deferred", "good-accepted"} <= set(found)


# --- aliases and domains ---


def test_aliases_behind_the_router_defer_mail_that_goes_elsewhere(
    cyrus: Cyrus, overquota: Path
) -> None:
    commands.export(cyrus.conf, overquota)
    daemon = Daemon(overquota, aliases={"jane": STRANGER}, lmtp_port=cyrus.lmtp_port)
    with daemon:
        assert _answers(daemon, "jane") == [250]
        assert "router-aliases" not in _found(cyrus, daemon)
        text = daemon.conf.read_text()
        start, end = text.index("aliases:\n"), text.index(".include", text.index("aliases:\n"))
        router = text[end:].partition("\n")[0]
        after = text[end:].partition("\n")[2]
        daemon.conf.write_text(f"{text[:start]}{router}\n{text[start:end]}{after}")
        daemon.reload()
        assert _answers(daemon, "jane") == [451]
        found = _found(cyrus, daemon)
        assert found["router-aliases"]["said"] == "router overquota comes before aliases"


@pytest.mark.parametrize("is_local", [False, True])
def test_users_of_a_domain_that_is_not_local_are_never_deferred(
    is_local: bool, overquota: Path
) -> None:
    options = {"quota_db": "twoskip", "virtdomains": "userid", "defaultdomain": DOMAIN}
    with Cyrus(options) as cyrus:
        (cyrus.directory / "root").mkdir()
        cyrus.start()
        for user, size in (("max@elsewhere.test", 1), ("bob", 1000)):
            cyrus.create_user(user)
            cyrus.set_quota(cyrus.mailbox(user), storage_kib=size)
        cyrus.fill("max@elsewhere.test")
        commands.export(cyrus.conf, overquota)
        address = exim.DIRECTORY / "address" / "router.conf"
        daemon = Daemon(overquota, lmtp_port=cyrus.lmtp_port)
        text = daemon.conf.read_text().replace(str(exim.ROUTER), str(address))
        if is_local:
            text = text.replace("local_domains = ", "local_domains = elsewhere.test : ")
        daemon.conf.write_text(text)
        with daemon:
            with smtp.session(daemon.port) as talk:
                talk.begin()
                code = talk.rcpt("max@elsewhere.test").code
            found = _found(cyrus, daemon)
        assert code == (451 if is_local else 550)
        assert ("router-domains" in found) is not is_local
        if not is_local:
            assert found["router-domains"]["said"].endswith("are without elsewhere.test")


# --- a Cyrus that has nothing yet ---


@pytest.mark.parametrize("backend", ["twoskip", "flat", "skiplist", "sql", "quotalegacy"])
def test_a_cyrus_that_was_never_used_is_no_damaged_one(backend: str) -> None:
    with Cyrus({"quota_db": backend, "sql_engine": "sqlite"}) as new:
        (new.directory / "root").mkdir()
        assert _found(new)["quota-db-new"]["said"].endswith(": Cyrus was never started")
        new.start()
        assert _found(new)["quota-db-new"]["said"].endswith(": Cyrus has no mailboxes yet")
        new.create_user("jane")
        found = _found(new)
        if backend == "quotalegacy":
            assert found["quota-db-new"]["said"].endswith(": no limit was ever set")
        else:
            assert "quota-db-empty" in found
        new.set_quota("user.jane", storage_kib=10)
        found = _found(new)
        assert not {"quota-db-new", "quota-db-bad", "quota-db-empty"} & set(found)
        assert found["quota-db"]["said"].endswith("1 quota root; 0 users over quota")
