"""Whole maps of recorded sites, beside what lmtpd and smmapd 3.6.1 said to each recipient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Mapping

import pytest
from click.testing import CliRunner

from cyrusquota.cli.export import export
from cyrusquota.cyrusdb import sorted_run
from tests.recorded_fixtures import FIXTURES, unpacked

MAIN, SITES = FIXTURES / "main", FIXTURES / "sites"
FILES = ("flat", "skiplist", "sqlite", "twom", "twoskip")
RECORDED = ("3.6.1", "3.6.1-virtdomains", "3.6.1-conversations")
TREES = ("plain", "fulldirhash", "virtdomains")
LINE = "{}: :defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later.\n"
FULL = "%(S (1025 1) M (0) AS (0) NF (0))"


@pytest.fixture(params=["plain reader", "fast path"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded databases are small, so all are left to the plain reader unless told."""
    if request.param == "fast path":
        monkeypatch.setattr(sorted_run, "WORTH_IT", 0)


def _body(directory: Path, *options: str) -> str:
    """The lines of the map that the export writes, but for its comments."""
    path = directory / "map"
    done = CliRunner().invoke(export, ["-o", str(path), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def _conf(directory: Path, recorded: Path, library: Path) -> str:
    """The recorded imapd.conf with the configdirectory at `library`."""
    text = recorded.read_text().replace("/var/lib/cyrus\n", f"{library}\n")
    path = directory / "imapd.conf"
    path.write_text(text.replace("@DIR@", str(recorded.parent)))
    return str(path)


def _refused(path: Path) -> set[str]:
    answers: Mapping[str, int] = json.loads(path.read_text())
    return {to for to, code in answers.items() if code == 452}


def _keys(body: str) -> set[str]:
    return {line.partition(":")[0] for line in body.splitlines()}


@pytest.mark.parametrize("backend", FILES)
def test_each_recorded_configdirectory_has_the_map_that_lmtpd_implies(
    backend: str, tmp_path: Path
) -> None:
    directory = MAIN / backend
    if backend == "twom":
        # Debian's Cyrus cannot write one, so there is no configuration with it.
        conf = tmp_path / "imapd.conf"
        conf.write_text(f"configdirectory: {directory}\nquota_db: twom\n")
        options = ["-C", str(conf)]
    else:
        options = ["-C", _conf(tmp_path, directory / "imapd.conf", directory)]
    assert _body(tmp_path, "--no-mailboxes", *options) == (MAIN / "map").read_text()


@pytest.mark.parametrize("layout", TREES)
def test_each_recorded_tree_has_the_map_that_lmtpd_implies(layout: str, tmp_path: Path) -> None:
    directory = MAIN / f"quotalegacy-{layout}"
    conf = _conf(tmp_path, directory / "imapd.conf", unpacked(layout, tmp_path))
    expected = directory / "map" if layout == "virtdomains" else MAIN / "map"
    assert _body(tmp_path, "-C", conf, "--no-mailboxes") == expected.read_text()


@pytest.mark.parametrize("backend", FILES)
def test_without_a_configuration_domains_are_taken_for_real(backend: str, tmp_path: Path) -> None:
    lines = (MAIN / "map").read_text().splitlines(keepends=True)
    domains = [LINE.format(to) for to in ("max@example.org", "mia@sub.example.org")]
    expected = "".join(sorted([*lines, *domains]))
    assert _body(tmp_path, "--db", str(MAIN / backend / "quotas.db")) == expected


def test_the_maps_of_main_have_the_keys_that_lmtpd_refused() -> None:
    refused = _refused(MAIN / "answers.json")
    assert {f"{key}@example.net" for key in _keys((MAIN / "map").read_text())} == refused
    virtual = MAIN / "quotalegacy-virtdomains"
    assert _keys((virtual / "map").read_text()) == _refused(virtual / "answers.json")


@pytest.mark.parametrize("site", RECORDED)
@pytest.mark.parametrize("policy", ["lmtpd", "smmapd"])
def test_a_recorded_site_with_mailboxes_has_the_map_that_its_daemon_implies(
    site: str, policy: str, tmp_path: Path
) -> None:
    directory = SITES / site
    conf = _conf(tmp_path, directory / "imapd.conf", directory / "lib")
    expected = directory / ("map" if policy == "lmtpd" else "map-smmapd")
    assert _body(tmp_path, "-C", conf, "--policy", policy) == expected.read_text()


@pytest.mark.parametrize("site", RECORDED)
def test_the_maps_of_sites_have_the_keys_that_were_refused(site: str) -> None:
    """smmapd knows nothing of other servers, nor of mailboxes that are about to move to one."""
    answers = json.loads((SITES / site / "answers.json").read_text())
    domain = "" if "virtdomains" in site else "@example.net"
    lmtpd = {to for to, code in answers["lmtpd"].items() if code == 452}
    over = {to for to, answer in answers["smmapd"].items() if answer == "TEMP Over quota"}
    moved = {f"{user}@example.net" for user in ("elsewhere", "here", "leaving")}
    for name, expected in (("map", lmtpd), ("map-smmapd", over - moved)):
        keys = _keys((SITES / site / name).read_text())
        assert {f"{key}{domain}" for key in keys} == expected
    assert lmtpd and over and lmtpd != over


#: Live users of mailboxes/ whom no address leads to: capitals are folded, blanks need quotes.
UNREACHABLE = {"caf&AOk-", "n w"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mailboxes-3.6.1", "mailboxes-3.6.1/mailboxes.db"),
        ("mailboxes-3.6.1", "mailboxes-3.6.1/ctl_mboxlist-d-y.json"),
        ("mailboxes-2.x", "mailboxes-old/mailboxes-2.x.skiplist.db"),
        ("mailboxes-2.x", "mailboxes-old/mailboxes-2.x.flat.db"),
        ("mailboxes-3.4", "mailboxes-old/mailboxes-3.4.twoskip.db"),
        ("mailboxes-3.4", "mailboxes-old/mailboxes-3.4.raw.txt"),
        ("mailboxes-3.4-upgraded", "mailboxes-old/mailboxes-3.4-upgraded-by-3.6.1.db"),
    ],
)
def test_where_everybody_is_full_the_map_has_those_with_a_live_inbox(
    name: str, path: str, tmp_path: Path
) -> None:
    mailboxes = FIXTURES / "mailboxes"
    users = json.loads((mailboxes / "expected-users.json").read_text())[name]
    rows = sorted(_root(user) for user in (*users["live"], *users["not_live"], "nobody"))
    (tmp_path / "quotas.db").write_text("".join(f"{row}\t{FULL}\n" for row in rows))
    body = _body(
        tmp_path,
        *("--db", str(tmp_path / "quotas.db"), "--backend", "flat"),
        *("--mailboxes", str(mailboxes / path)),
    )
    live = sorted({*users["live"]} - UNREACHABLE)
    assert body == "".join(map(LINE.format, live))


def _root(user: str) -> str:
    local, mark, domain = user.partition("@")
    name = "user." + local.replace(".", "^")
    return f"{domain}!{name}" if mark else name


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("user.jane@example^org\t0 default jane\tlrs\t\n", "jane@example.org"),
        ("user.jane@example^org\t%(A %(jane lrs) I id P default T d)\n", None),
        ("Nuser\x1fjane@example.org\t%(T e I id P default)\n", None),
    ],
)
def test_only_2_x_reaches_a_user_whose_name_is_an_address(
    row: str, key: str, tmp_path: Path
) -> None:
    """3.6.1 said 550 to at@example.org, who has such a row in sites/."""
    (tmp_path / "quotas.db").write_text(f"user.jane@example^org\t{FULL}\n")
    (tmp_path / "mailboxes.db").write_text(row)
    body = _body(
        tmp_path,
        *("--db", str(tmp_path / "quotas.db"), "--backend", "flat"),
        *("--mailboxes", str(tmp_path / "mailboxes.db")),
    )
    assert body == ("" if key is None else LINE.format(key))
