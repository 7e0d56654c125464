"""`cyrusquota list` and `report` over a real server: whom lmtpd refuses is whom they name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Iterator

import pytest

from . import commands
from .cyrus import DOMAIN, Cyrus
from .verdicts import refused_by_lmtpd

pytestmark = pytest.mark.integration

FULL = b"%(S (999999 1) M (0) AS (0) NF (0))"


@pytest.fixture
def cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    options = {"quota_db": "twoskip", "virtdomains": "userid", "defaultdomain": DOMAIN}
    with Cyrus(options) as running:
        running.start()
        yield running


def test_whom_lmtpd_refuses_is_named_with_the_root_that_governs(
    cyrus: Cyrus, tmp_path: Path
) -> None:
    """late has no root of his own, and was made after `user` had a quota; full and fine have."""
    cyrus.store(cyrus.lib / "quotas.db", "twoskip", {b"user": FULL})
    users = ["late", "fine", "full"]
    for user in users:
        cyrus.create_user(user)
    for user in ("fine", "full"):
        cyrus.set_quota(cyrus.mailbox(user), storage_kib=10000)
    assert cyrus.deliver("full", 5000).code == 250
    cyrus.set_quota(cyrus.mailbox("full"), storage_kib=1)
    assert refused_by_lmtpd(cyrus, users) == {f"late@{DOMAIN}", f"full@{DOMAIN}"}

    lines = commands.printed("report", cyrus.conf).splitlines()
    refused = lines[lines.index("Refused mail now") + 2 :]
    assert [line.split()[-3:] for line in refused] == [
        ["STORAGE", "own", f"full@{DOMAIN}"],
        ["STORAGE", "user", f"late@{DOMAIN}"],
    ]
    (count,) = (line for line in lines if line.startswith("Users refused mail now"))
    assert count.endswith("  2  66.7% of all with an INBOX here")

    page = tmp_path / "page.html"
    assert commands.printed("report", cyrus.conf, "--html", str(page)) == ""
    refusals = page.read_text().partition("Refused mail now")[2].partition("</table>")[0]
    for user in ("full", "late"):
        assert f"<bdi>{user}<wbr/>@{DOMAIN.replace('.', '<wbr/>.')}</bdi>" in refusals
    assert "<bdi>fine" not in refusals


def test_csv_has_the_figures_of_quota(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10)
    assert cyrus.deliver("jane", 5000).code == 250
    (row,) = csv.DictReader(commands.printed("list", cyrus.conf, "--format", "csv").splitlines())
    (said,) = json.loads(cyrus.run("quota", "-J")).values()
    assert int(row["storage_used"]) == said["STORAGE"]["used"] > 5000
    assert int(row["storage_limit"]) == said["STORAGE"]["limit"] == 10240


def test_columns_of_a_table_say_what_quota_says(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=1000)
    (_, line) = commands.printed("list", cyrus.conf, "jane", "--unit", "KiB").splitlines()
    assert line.split() == ["0%", "0.0", "KiB", "1000.0", "KiB", "STORAGE", "jane@example.net"]
