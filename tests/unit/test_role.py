"""Frontends of a murder and replicas: the export says that the quotas are elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from cyrusquota.cli.engine_options import EngineOptions
from tests.simulated_engine import SimulatedEngine
from tests.unit.programs import Ran, exporter

Run = Callable[..., Ran]

CONF = """\
configdirectory: {0}
quota_db: flat
quota_db_path: {0}/quotas.db
mboxlist_db: flat
mboxlist_db_path: {0}/mailboxes.db
partition-default: {0}
"""
#: As `ctl_mboxlist -d` of 2.4 has them: 1 is a mailbox on another host.
LOCAL = "user.jane\t0 default jane\tlrswipkxtecda\t\n"
REMOTE = "user.joe\t1 backend1.example.org!default joe\tlrswipkxtecda\t\n"
REPLICA = """\
START {{
{0}  recover cmd="ctl_cyrusdb -r"
}}
SERVICES {{
  imap cmd="imapd" listen="imap"
  syncserver cmd="/usr/lib/cyrus/bin/sync_server" listen="csync"
}}
"""
SYNC_CLIENT = '  syncclient cmd="sync_client -r"\n'


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with a full user."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imapd.conf").write_text(CONF.format(tmp_path))
    (tmp_path / "quotas.db").write_text("")
    (tmp_path / "mailboxes.db").write_text(LOCAL)
    return tmp_path


@pytest.fixture
def run(
    host: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Run:
    return exporter(capfdbinary, monkeypatch)


def _is_member(host: Path, *rows: str) -> None:
    with (host / "imapd.conf").open("a") as conf:
        conf.write("mupdate_server: mupdate.example.org\n")
    (host / "mailboxes.db").write_text("".join(rows))


@pytest.mark.parametrize("options", [("-n",), (), ("-o", "map"), ("-v",)])
def test_a_frontend_says_that_the_backends_have_the_quotas(
    run: Run, host: Path, options: tuple[str, ...]
) -> None:
    _is_member(host, REMOTE)
    done = run("-C", "imapd.conf", *options)
    assert done.status == 0
    assert "imapd.conf: this is a frontend of a murder" in done.err
    assert "run cyrusquota-export on each backend" in done.err


def test_a_backend_of_a_murder_says_nothing(run: Run, host: Path) -> None:
    """It has rows of other hosts too where the murder is a unified one."""
    _is_member(host, REMOTE, LOCAL)
    assert run("-C", "imapd.conf", "-o", "map").err == ""


def test_neither_does_a_new_backend_without_users(run: Run, host: Path) -> None:
    _is_member(host)
    assert "murder" not in run("-C", "imapd.conf", "-o", "map").err


def test_nor_a_copy_of_a_quota_database(run: Run, host: Path) -> None:
    _is_member(host, REMOTE)
    done = run("-C", "imapd.conf", "--db", "quotas.db", "-n")
    assert "murder" not in done.err


@pytest.mark.parametrize("option", ["-n", "-v"])
def test_a_replica_says_that_its_master_has_the_quotas(run: Run, host: Path, option: str) -> None:
    (host / "cyrus.conf").write_text(REPLICA.format(""))
    done = run("-C", "imapd.conf", "-o", "map", option)
    assert done.status == 0
    assert "cyrus.conf: this is a replica" in done.err
    assert "run cyrusquota-export on the master" in done.err


def test_a_replica_is_silent_in_cron(run: Run, host: Path) -> None:
    (host / "cyrus.conf").write_text(REPLICA.format(""))
    assert run("-C", "imapd.conf", "-o", "map").err == ""


def test_a_host_that_replicates_to_others_is_no_replica(run: Run, host: Path) -> None:
    (host / "cyrus.conf").write_text(REPLICA.format(SYNC_CLIENT))
    assert "replica" not in run("-C", "imapd.conf", "-n").err
    (host / "cyrus.conf").write_text(REPLICA.format(""))
    with (host / "imapd.conf").open("a") as conf:
        conf.write("second_sync_host: replica.example.org\n")
    assert "replica" not in run("-C", "imapd.conf", "-n").err


@pytest.mark.parametrize("what", ["frontend", "replica"])
def test_neither_publishes_a_store(
    run: Run, host: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It would take the store from the host that has it."""
    if what == "frontend":
        _is_member(host, REMOTE)
    else:
        (host / "cyrus.conf").write_text(REPLICA.format(""))
    engine = SimulatedEngine()
    monkeypatch.setattr(EngineOptions, "opened", lambda self: engine)
    given = ("--follow", "--engine", "redis://localhost", "--store", "store1")
    done = run("-C", "imapd.conf", *given)
    assert done.status == 78
    assert f"this is a {what}" in done.err
    assert engine.server.stores == {}
