"""`cyrusquota check` and `metrics` count those whom a real lmtpd refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.metric_samples import metric_samples

from . import commands
from .cyrus import DOMAIN, Cyrus
from .verdicts import refused_by_lmtpd

pytestmark = pytest.mark.integration

FULL = b"%(S (5000 1) M (0) AS (0) NF (0))"
USERS = ["full", "roomy", "heir", "other@example.org"]
DAMAGE = 100


@pytest.fixture(scope="module")
def cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    """Four users: one full, one with room, one under a full `user`, one without any quota."""
    options = {"quota_db": "twoskip", "virtdomains": "userid", "defaultdomain": DOMAIN}
    with Cyrus(options) as running:
        running.start()
        running.store(running.lib / "quotas.db", "twoskip", {b"user": FULL})
        for user in USERS:
            running.create_user(user)
        for user, size in (("full", 1), ("roomy", 1000)):
            running.set_quota(running.mailbox(user), storage_kib=size)
        # A root whose user has no mailbox counts for nobody.
        running.store(
            running.lib / "quotas.db", "twoskip", {b"user.full": FULL, b"user.ghost": FULL}
        )
        yield running


def test_as_many_are_over_as_lmtpd_refuses(cyrus: Cyrus, tmp_path: Path) -> None:
    refused = refused_by_lmtpd(cyrus, USERS)
    assert len(refused) == 2
    overquota = tmp_path / "overquota"
    commands.export(cyrus.conf, overquota)

    done = commands.monitored("check", cyrus.conf, overquota, "-c", "1")
    assert (done.returncode, done.stderr) == (2, b"")
    assert (
        b"CRITICAL - 2 of 4 users over quota (50.00%) [critical: over above 1], map" in done.stdout
    )
    assert b" map_entries=2;" in done.stdout

    done = commands.monitored("metrics", cyrus.conf, overquota)
    assert (done.returncode, done.stderr) == (0, b"")
    found = metric_samples(done.stdout)
    assert (found.value("users"), found.value("refused_users")) == (4, len(refused))
    assert found.value("roots") == 4
    assert found.by_label("over_roots", "resource")["STORAGE"] == 3
    assert found.by_label("promised_bytes", "domain") == {"": 1003 * 1024}
    assert (found.value("map_entries"), found.value("map_held_back")) == (2, 0)


def test_a_database_that_cannot_be_read_is_unknown(cyrus: Cyrus, tmp_path: Path) -> None:
    config = tmp_path / "imapd.conf"
    broken = tmp_path / "quotas.db"
    broken.write_bytes((cyrus.lib / "quotas.db").read_bytes()[:DAMAGE])
    config.write_text(f"{cyrus.conf.read_text()}\nquota_db_path: {broken}\n")
    done = commands.monitored("check", config, tmp_path / "overquota")
    assert (done.returncode, done.stderr) == (3, b"")
    assert done.stdout.startswith(b"CYRUSQUOTA UNKNOWN - ")
    done = commands.monitored("metrics", config, tmp_path / "overquota", "-o", f"{tmp_path}/x.prom")
    assert done.returncode == 65
    assert metric_samples((tmp_path / "x.prom").read_bytes()).value("up") == 0


def test_a_missing_map_and_one_that_the_export_holds_back_are_noticed(
    cyrus: Cyrus, tmp_path: Path
) -> None:
    database, overquota = cyrus.lib / "few.db", tmp_path / "overquota"
    cyrus.store(database, "twoskip", {b"user.full": FULL})
    config = tmp_path / "imapd.conf"
    config.write_text(f"{cyrus.conf.read_text()}\nquota_db_path: {database}\n")
    options = ("--no-mailboxes",)
    done = commands.monitored("check", config, overquota, *options)
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"there is no map" in done.stdout
    commands.export(config, overquota, *options)
    assert commands.monitored("check", config, overquota, *options).returncode == 0

    cyrus.store(database, "twoskip", {b"user.u%d" % number: FULL for number in range(25)})
    # The export that holds it back says so in the same words.
    held = commands.run_export(config, overquota, *options)
    assert held.returncode == 75
    reason = b"25 entries would be added to the 1 in place and 0 removed"
    assert reason in held.stderr
    done = commands.monitored("check", config, overquota, *options)
    assert (done.returncode, done.stderr) == (1, b"")
    assert reason in done.stdout
    accept = ("--accept-change", "25")
    commands.export(config, overquota, *options, *accept)
    assert commands.monitored("check", config, overquota, *options).returncode == 0
