"""Where an imapd.conf puts databases: in files, in tables of SQLite, on servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrus.imapdconf import ImapdConf, load
from cyrusquota.errors import ConfigError, NoSuchSource, UnsupportedBackend
from cyrusquota.explain.rows import roots_named
from cyrusquota.site import source
from cyrusquota.site.site import Site
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from cyrusquota.verdicts.evaluator import Query, evaluate_roots
from tests.recorded_fixtures import FIXTURES

SQL = FIXTURES / "sql-database"
FULL = b"%(S (9999 1))"

Write = Callable[..., ImapdConf]


@pytest.fixture
def conf(tmp_path: Path) -> Write:
    def write(*lines: str) -> ImapdConf:
        path = tmp_path / "imapd.conf"
        path.write_text("".join(f"{line}\n" for line in (f"configdirectory: {tmp_path}", *lines)))
        return load(path)

    return write


def _listed(conf: ImapdConf) -> set[str]:
    quotas = source.from_config(conf)
    query = Query(quotas.naming, site=Site.from_config(conf))
    return {verdict.recipient.local for verdict in evaluate_roots(quotas.roots(), query)}


def _twoskip(path: Path, records: dict[bytes, bytes]) -> None:
    writer = TwoskipWriter(path)
    writer.begin()
    for key, value in records.items():
        writer.set(key, value)
    writer.commit()


# sql_database


def test_sql_database_takes_the_place_of_both_files(conf: Write, tmp_path: Path) -> None:
    """Files that lie where they would be without it count for nothing."""
    _twoskip(tmp_path / "quotas.db", {b"user.zoe": FULL})
    _twoskip(tmp_path / "mailboxes.db", {})
    found = conf(
        *("quota_db: sql", "mboxlist_db: sql", "sql_engine: sqlite"),
        f"sql_database: {SQL}/cyrus.sqlite",
    )
    roots = {root.name: root.storage.limit for root in source.from_config(found).roots()}
    assert roots == {"user.jane": 1024, "user.joe": 1024, "user.zoe": 1024000}
    assert {inbox.name for inbox in Site.from_config(found).inboxes()} == set(roots)
    assert {inbox.name for inbox in Site.from_config(found).named(["user.joe"])} >= {"user.joe"}


def test_conversations_totals_in_sql_database_are_one_for_all(conf: Write) -> None:
    found = conf(
        *("conversations_db: sql", "sql_engine: sqlite", "quota_use_conversations: yes"),
        f"sql_database: {SQL}/conversations.sqlite",
    )
    site = Site.from_config(found, mailboxes=SQL / "cyrus.sqlite")
    totals = {name: site.totals(f"user.{name}") for name in ("jane", "joe", "zoe")}
    assert len(set(totals.values())) == 1
    # jane and joe were refused with 1 KiB, zoe was not with 1000.
    assert 1024 < totals["jane"].size < 1024000


def test_a_table_that_is_not_there_is_not_replaced_by_another(conf: Write) -> None:
    found = conf(
        "quota_db: sql", "quota_db_path: /x/limits.db", f"sql_database: {SQL}/cyrus.sqlite"
    )
    with pytest.raises(NoSuchSource, match=r"a table limits_db .*found mailboxes_db, quotas_db"):
        list(source.from_config(found).roots())


def test_db_takes_the_table_of_quotas_and_mailboxes_that_of_mailboxes() -> None:
    """Where a file has several."""
    path = SQL / "cyrus.sqlite"
    assert {root.name for root in source.read(path)} == {"user.jane", "user.joe", "user.zoe"}
    site = Site.from_mailboxes(path)
    assert {inbox.name for inbox in site.inboxes()} == {"user.jane", "user.joe", "user.zoe"}
    with pytest.raises(NoSuchSource, match="expected a table cyrus_sqlite"):
        cyrusdb.open(path)


# What cannot be read

SERVER = ("sql_engine: pgsql", "sql_database: cyrus")


@pytest.mark.parametrize("is_stale", [False, True])
@pytest.mark.parametrize(
    ("lines", "tool"),
    [
        (("quota_db: sql", *SERVER), r"pgsql has the data.*cyr_dbtool /.*/quotas.db sql show"),
        (("quota_db: sql", "sql_engine: mysql"), "mysql has the data.*sql show"),
        (("quota_db: sql", "sql_database: cyrus"), "an SQL server has the data.*sql show"),
        (("quota_db: berkeley",), r"berkeley show .*\(or with db_dump -p"),
        (("quota_db: berkeley-hash-nosync",), "berkeley-hash-nosync show"),
        (("quota_db: lmdb",), "lmdb show"),
        (("quota_db: zeroskip",), "zeroskip show"),
    ],
)
def test_quotas_that_cannot_be_read_come_with_the_way_to_dump_them(
    conf: Write, tmp_path: Path, lines: tuple[str, ...], tool: str, is_stale: bool
) -> None:
    if is_stale:
        _twoskip(tmp_path / "quotas.db", {b"user.jane": FULL})
    found = source.from_config(conf(*lines))
    for read in (found.roots, lambda: found.opened and found.opened(lambda problem: None)):
        with pytest.raises(UnsupportedBackend, match=tool) as caught:
            list(read() or [])
    assert "--dump -" in str(caught.value)
    # `explain` reads a few records only.
    with pytest.raises(UnsupportedBackend):
        roots_named(found, {"user.jane"}, lambda problem: None)


@pytest.mark.parametrize("lines", [("mboxlist_db: sql", *SERVER), ("mboxlist_db: zeroskip",)])
def test_mailboxes_that_cannot_be_read_come_with_the_way_to_list_them(
    conf: Write, tmp_path: Path, lines: tuple[str, ...]
) -> None:
    _twoskip(tmp_path / "mailboxes.db", {})
    with pytest.raises(UnsupportedBackend, match=r"ctl_mboxlist -d .*--mailboxes"):
        Site.from_config(conf(*lines))
    # A list that is given replaces them.
    site = Site.from_config(conf(*lines), mailboxes=SQL / "cyrus.sqlite")
    assert len(list(site.inboxes())) == 3


def test_totals_that_cannot_be_read_are_not_taken_for_none(conf: Write) -> None:
    found = conf("conversations_db: zeroskip", "quota_use_conversations: yes")
    site = Site.from_config(found, mailboxes=SQL / "cyrus.sqlite")
    with pytest.raises(UnsupportedBackend, match="conversations_db: zeroskip has the data"):
        site.totals("user.jane")


@pytest.mark.parametrize("option", ["quota_db", "mboxlist_db"])
def test_a_backend_that_no_cyrus_has_is_an_error(conf: Write, option: str) -> None:
    found = conf(f"{option}: twoskippy")
    with pytest.raises(ConfigError, match=f"option {option}: expected one of .*'twoskippy'"):
        source.from_config(found)
        Site.from_config(found)


def test_a_zeroskip_directory_is_no_quotalegacy_tree(tmp_path: Path) -> None:
    (tmp_path / ".zsdb").touch()
    with pytest.raises(UnsupportedBackend, match="in the format zeroskip"):
        list(source.read(tmp_path))


def test_an_lmdb_file_is_known_by_its_magic_bytes(tmp_path: Path) -> None:
    # The first page, of which the head has 16 bytes (mdb_meta in lmdb/mdb.c).
    page = bytes(8) + b"\0\0\x08\0\0\0\0\0" + (0xBEEFC0DE).to_bytes(4, "little") + b"\1\0\0\0"
    (tmp_path / "quotas.db").write_bytes(page.ljust(4096, b"\0"))
    with pytest.raises(UnsupportedBackend, match="in the format lmdb"):
        list(source.read(tmp_path / "quotas.db"))


# mboxname_userpath


def test_totals_below_mboxname_userpath_decide(tmp_path: Path) -> None:
    """A recorded site of 3.13, and what its lmtpd said."""
    recorded = FIXTURES / "sites" / "mboxname-userpath-3.13"
    path = tmp_path / "imapd.conf"
    path.write_text((recorded / "imapd.conf").read_text().replace("@DIR@", str(recorded)))
    answers = json.loads((recorded / "answers.json").read_text())["answers"]
    assert _listed(load(path)) == {name for name, (code, _) in answers.items() if code == 452}


@pytest.mark.parametrize(
    ("lines", "name", "expected"),
    [
        (("mboxname_userpath: /u",), "user.jane", "/u/user/uuid/i/6/i6w2236xsqrc5fwud9n3t37o/conv"),
        ((), "user.joan", "lib/user/j/joan.conversations"),
        (("mboxname_userpath: /u",), "user.joan", "/u/user/j/joan.conversations"),
        (("mboxname_userpath: {configdirectory}/u",), "user.joan", "lib/u/user/j/joan.conversati"),
        (("mboxname_userpath: /u",), "example.org!user.max", "/u/domain/e/example.org/user/m/max."),
        (("mboxname_userpath: /u", "fulldirhash: yes"), "user.jane2", "/u/user/V/jane2.conve"),
    ],
)
def test_mboxname_userpath_replaces_the_configdirectory(
    tmp_path: Path, lines: tuple[str, ...], name: str, expected: str
) -> None:
    """Also where the directories go by name; mboxname_conf_getpath_legacy in imap/mboxname.c."""
    path = tmp_path / "imapd.conf"
    path.write_text("".join(f"{line}\n" for line in (f"configdirectory: {tmp_path}/lib", *lines)))
    site = Site.from_config(load(path), mailboxes=SQL / "cyrus.sqlite")
    expected = expected if expected.startswith("/") else f"{tmp_path}/{expected}"
    assert str(site.totals_path(name)).startswith(expected)
