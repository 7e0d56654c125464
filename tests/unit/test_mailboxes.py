"""INBOX rows of every version, and mailbox headers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Iterable, Iterator, Optional

import pytest

import cyrusquota
from cyrusquota import cyrusdb
from cyrusquota.cli.input_files import check_started
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.errors import BadDump, CyrusQuotaError, SourceForbidden, raise_problem
from cyrusquota.explain.rows import inboxes_named
from cyrusquota.site import mailbox_list
from cyrusquota.site.mailboxes import (
    Inbox,
    Layout,
    file_path,
    folder,
    header_root,
    inboxes,
    index_count,
)
from cyrusquota.site.site import Site

FIXTURES = Path(__file__).parents[1] / "fixtures" / "mailboxes"
EXPECTED = json.loads((FIXTURES / "expected-users.json").read_text())

DATABASES = {
    "mailboxes-3.6.1": "mailboxes-3.6.1/mailboxes.db",
    "mailboxes-2.x": "mailboxes-old/mailboxes-2.x.skiplist.db",
    "mailboxes-3.4": "mailboxes-old/mailboxes-3.4.twoskip.db",
    "mailboxes-3.4-upgraded": "mailboxes-old/mailboxes-3.4-upgraded-by-3.6.1.db",
}
DUMPS = {
    "mailboxes-old/mailboxes-2.x.raw.txt": "mailboxes-2.x",
    "mailboxes-old/mailboxes-2.x.flat.db": "mailboxes-2.x",
    "mailboxes-old/mailboxes-3.4.raw.txt": "mailboxes-3.4",
    "mailboxes-3.6.1/ctl_mboxlist-d-y.json": "mailboxes-3.6.1",
}
HEADER = b"\xa1\x02\x8b\x0dCyrus mailbox header\nsecond line\n\tthird line\n"


def _userid(inbox: Inbox) -> str:
    domain, mark, rest = inbox.name.rpartition("!")
    local = rest[len("user.") :].replace("^", ".")
    return f"{local}@{domain}" if mark else local


def _assert_expected(found: Iterable[Inbox], name: str) -> None:
    rows = list(found)
    live = {_userid(inbox) for inbox in rows if inbox.is_live}
    assert live == set(EXPECTED[name]["live"])
    assert {_userid(inbox) for inbox in rows} - live == set(EXPECTED[name]["not_live"])


@pytest.mark.parametrize("name", DATABASES)
def test_a_recorded_database_gives_its_users(name: str) -> None:
    with cyrusdb.open(FIXTURES / DATABASES[name]) as db:
        _assert_expected(inboxes(db), name)


@pytest.mark.parametrize("path", DUMPS)
def test_a_dump_gives_its_users(path: str) -> None:
    with (FIXTURES / path).open("rb") as stream:
        _assert_expected(mailbox_list.from_dump(stream), DUMPS[path])


def test_a_dump_of_2_2_has_no_types(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(
        b"user.jane\tdefault\tjane\tlrswipcda\t\nuser.far\tbackend!default\tfar\tlrs\t\n"
    )
    with dump.open("rb") as stream:
        found = {inbox.name: inbox.is_live for inbox in mailbox_list.from_dump(stream)}
    assert found == {"user.jane": True, "user.far": False}


def test_a_json_dump_with_a_row_that_is_none_reports_it(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(b'{\n"user.jane": 5,\n"user.bob": {"mbtype": "e", "partition": "p"}\n}\n')
    problems: list[CyrusQuotaError] = []
    with dump.open("rb") as stream:
        found = list(mailbox_list.from_dump(stream, on_problem=problems.append))
    assert [inbox.name for inbox in found] == ["user.bob"]
    assert [type(problem) for problem in problems] == [BadDump]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            b"Nuser\x1fjane.doe",
            b"%(T e I abc P default)",
            Inbox("user.jane^doe", True, "default", "abc", True),
        ),
        (
            b"Nexample.org\x1duser\x1fmax",
            b"%(T el I abc P p2)",
            Inbox("example.org!user.max", True, "p2", None, True),
        ),
        (b"Nuser\x1fjane", b"%(T e I abc)", Inbox("user.jane", False, None, "abc", True)),
        (
            b"Nuser\x1fjane",
            b"%(T e I abc P far!default)",
            Inbox("user.jane", False, "far!default", "abc", True),
        ),
        (b"Nuser\x1fjane", b"%(T ed I abc)", Inbox("user.jane", False, None, "abc", True)),
        (b"Nuser.x\x1dy", b"%(T e I abc P p)", Inbox("user.x!y", True, "p", "abc", True)),
        (b"user.jane", b"0 default jane\tlrs\t", Inbox("user.jane", True, "default")),
        (b"user.jane", b"(uniqueid x) 0 default jane\tlrs\t", Inbox("user.jane", True, "default")),
        (b"user.jane", b"16 default jane\tlrs\t", Inbox("user.jane", False, "default")),
        (b"user.jane", b"0 far!default jane\tlrs\t", Inbox("user.jane", False, "far!default")),
        (b"user.jane", b"%(A %(jane lrs) I id P default)", Inbox("user.jane", True, "default")),
        (b"user.jane", b"%(I id P default T c)", Inbox("user.jane", False, "default")),
        (b"user.jane", b"%(I id P default", Inbox("user.jane", False)),
        (b"user.jane", b"nonsense", Inbox("user.jane", False)),
        (b"user.jane", b"", Inbox("user.jane", False)),
    ],
)
def test_a_row_of_any_style_is_understood(key: bytes, value: bytes, expected: Inbox) -> None:
    assert list(inboxes([(key, value)])) == [expected]


@pytest.mark.parametrize(
    "key",
    [b"user.jane.archive", b"shared.news", b"Nuser\x1fjane\x1farchive", b"Ishared", b"$RACL",
     b"DELETED.user.jane.5F3B2C10", b"NDELETED\x1fuser\x1fjane\x1f5F3B2C10", b"$RACL$U$a$user.b"],
)  # fmt: skip
def test_other_rows_are_no_inbox(key: bytes) -> None:
    assert list(inboxes([(key, b"%(T e I a P default)")])) == []


def test_a_row_that_names_a_server_is_not_live() -> None:
    row = (b"Nuser\x1fjane", b"%(T e I abc P default S imap1)")
    assert [inbox.is_live for inbox in inboxes([row])] == [False]
    dump = io.BytesIO(b'{\n"user.jane": {"mbtype": "e", "partition": "p", "server": "imap1"}\n}\n')
    assert [inbox.is_live for inbox in mailbox_list.from_dump(dump)] == [False]


@pytest.mark.parametrize(
    ("inbox", "hashed", "expected"),
    [
        (Inbox("user.jane", True, "p", "k3xyz"), True, "/spool/uuid/k/3/k3xyz/cyrus.header"),
        (Inbox("user.jane", True, "p"), False, "/spool/user/jane/cyrus.header"),
        (Inbox("user.jane^doe", True, "p"), True, "/spool/j/user/jane^doe/cyrus.header"),
        (
            Inbox("example.org!user.max", True, "p"),
            True,
            "/spool/domain/e/example.org/m/user/max/cyrus.header",
        ),
        (
            Inbox("example.org!user.max", True, "p"),
            False,
            "/spool/domain/example.org/user/max/cyrus.header",
        ),
        (Inbox("user.jane", True, "elsewhere"), False, None),
        (Inbox("user.jane", True), False, None),
    ],
)
def test_a_header_is_found(inbox: Inbox, hashed: bool, expected: Optional[str]) -> None:
    layout = Layout(lambda partition, kind: "/spool" if partition == "p" else None, hashed=hashed)
    assert file_path(inbox, "header", layout) == expected


@pytest.mark.parametrize(
    ("body", "root"),
    [
        (b"user.jane\t0123456789abcdef\nflags\nacl\n", "user.jane"),
        (b"\t0123456789abcdef\nflags\nacl\n", None),
        (b"%(T e N user.jane I id Q user A %(jane lrs))\n", "user"),
        (b"%(T e N user.jane I id A %(jane lrs))\n", None),
    ],
)
def test_a_header_names_its_root(body: bytes, root: Optional[str]) -> None:
    assert header_root(HEADER + body) == root


@pytest.mark.parametrize(
    "content",
    [b"", b"rubbish", HEADER[:30], HEADER[:-1], HEADER[4:] + b"\tx\n", HEADER + b"%(Q (a\n"],
)
def test_what_is_no_header_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        header_root(content)


def test_the_server_says_which_header_cannot_be_read(tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}\npartition-p: {tmp_path}\n")
    found = Site.from_config(cyrusquota.load(conf))
    with pytest.raises(cyrusquota.NoSuchSource, match=r"cyrus\.header"):
        found.header_root(Inbox("user.jane", True, "p"))
    with pytest.raises(cyrusquota.SourceError, match="elsewhere"):
        found.header_root(Inbox("user.jane", True, "elsewhere"))
    header = tmp_path / "user" / "jane" / "cyrus.header"
    header.parent.mkdir(parents=True)
    header.write_bytes(b"rubbish")
    with pytest.raises(cyrusquota.DamagedDatabase, match="mailbox"):
        found.header_root(Inbox("user.jane", True, "p"))


def test_a_server_alone_with_one_user_knows_no_other() -> None:
    host = Site.from_mailboxes(FIXTURES / DATABASES["mailboxes-3.6.1"])
    one, other = list(host.inboxes())[:2]
    assert list(host.alone(one).inboxes()) == [one]
    assert list(host.alone(other).inboxes()) == [other]
    assert list(host.alone(None).inboxes()) == []


# The index of a mailbox

#: What cyrus.index of 3.6.1 begins with: two messages; one message left of four.
TWO = bytes.fromhex(
    "000000000000000000000011000000a000000070000000026b0785d000000002000000000000039a"
    "000000006b0785d1000000000000000000000000000000010000000000000000000000030000000000"
    "0000000000000200000000000000003b49f38cbc5da5f8000000016b0785d0"
)
ONE_OF_FOUR = bytes.fromhex(
    "000000000000000000000011000000a000000070000000046b0785d00000000400000000000001cc"
    "000000006b0785d10000000000000000000000000000000100000000000000000000000b0000000000"
    "000000000000016b0785d0000000003b49f38c8df0a953000000036b0785d0"
)


def _with_number(at: int, number: int, *, version: int) -> bytes:
    index = bytearray(TWO)
    index[8:12], index[at : at + 4] = version.to_bytes(4, "big"), number.to_bytes(4, "big")
    return bytes(index)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (TWO, 2),
        (TWO[:96], 2),
        (ONE_OF_FOUR, 1),
        # OFFSET_EXISTS of 2.4, and of 3.10 and later.
        (_with_number(84, 70000, version=12), 70000),
        (_with_number(60, 70000, version=19), 70000),
        (_with_number(60, 70000, version=20), 70000),
    ],
)
def test_an_index_tells_the_number_of_messages(content: bytes, count: int) -> None:
    assert index_count(content) == count


@pytest.mark.parametrize(
    "content",
    [b"", TWO[:95], _with_number(60, 1, version=21), _with_number(84, 1, version=11)],
)
def test_what_is_no_index_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected the index"):
        index_count(content)


def test_the_site_tells_the_number_of_messages_in_an_inbox(tmp_path: Path) -> None:
    """The index may lie on a partition of its own."""
    conf = tmp_path / "imapd.conf"
    conf.write_text(
        f"configdirectory: {tmp_path}\npartition-p: {tmp_path / 'spool'}\n"
        f"metapartition-p: {tmp_path / 'meta'}\nmetapartition_files: index\n"
    )
    host = Site.from_config(cyrusquota.load(conf))
    inbox = Inbox("user.jane", True, "p", "abc", True)
    with pytest.raises(cyrusquota.NoSuchSource, match=r"cyrus\.index"):
        host.message_count(inbox)
    index = tmp_path / "meta" / "uuid" / "a" / "b" / "abc" / "cyrus.index"
    index.parent.mkdir(parents=True)
    index.write_bytes(TWO + bytes(5000))
    assert host.message_count(inbox) == 2
    index.write_bytes(b"rubbish")
    with pytest.raises(cyrusquota.DamagedDatabase, match="index of a mailbox"):
        host.message_count(inbox)


def test_a_name_that_no_path_can_have_has_no_header(tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}\npartition-p: {tmp_path}\n")
    host = Site.from_config(cyrusquota.load(conf))
    for name in ("user.a\0b", "user." + "x" * 5000):
        with pytest.raises(cyrusquota.SourceError):
            host.header_root(Inbox(name, True, "p"))


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that nobody else may enter."""
    directory = tmp_path / "closed"
    directory.mkdir(mode=0)
    yield directory
    directory.chmod(0o700)


@pytest.mark.parametrize("backend", ["flat", "skiplist", "twoskip", "twom", "sql"])
def test_what_it_may_not_look_for_is_not_taken_for_missing(
    backend: str, closed: Path, as_ordinary_user: None
) -> None:
    options = {"configdirectory": str(closed), "mboxlist_db": backend, "quota_db": backend}
    conf = ImapdConf("imapd.conf", options)
    site = Site.from_config(conf)
    for ask in (
        lambda: list(site.inboxes()),
        lambda: list(site.named(["user.jane"])),
        lambda: site.counted(["user.jane"]),
        lambda: site.folder("news"),
        lambda: list(inboxes_named(site, {"user.jane"}, raise_problem)),
        lambda: check_started(conf, cyrusquota.from_config(conf), site),
    ):
        with pytest.raises(SourceForbidden, match=r"mailboxes\.db: permission denied"):
            ask()


#: By access list, as imapd of 3.6.1 wrote it: what lmtpd -a of 3.6.1 said to a recipient +news over
#: quota, 452 if it may post.
POSTED = {
    b"anyone lrs": "5.7.1",
    b"anyone p": "452",
    b"anyone lrsp": "452",
    b"anyone lrsp -anyone p": "5.7.1",
    b"anyone l anonymous p": "452",
    b"anyone lp -anonymous p": "5.7.1",
    b"anyone lrs joe lrsp": "5.7.1",
    b"anyone lrs -anyone l": "5.1.1",
}


def _rows(acl: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Return the row of a folder in the style of 3.6, and in that of 2.x."""
    words = acl.split()
    pairs = b"".join(b"%b\t%b\t" % pair for pair in zip(words[::2], words[1::2]))
    return {
        "3.6": (b"Nnews", b"%(T e I t8rv P default V 1 C 1 F 11 M 2 A %(" + acl + b"))"),
        "2.x": (b"news", b"0 default " + pairs),
    }


@pytest.mark.parametrize("style", ["3.6", "2.x"])
@pytest.mark.parametrize("acl", list(POSTED))
def test_the_rights_of_everybody_decide_who_may_post(acl: bytes, style: str) -> None:
    found = folder("news", [(b"Nother", b""), _rows(acl)[style]])
    assert found is not None
    assert found.rights is not None
    code = "452" if "p" in found.rights else "5.7.1" if "l" in found.rights else "5.1.1"
    assert code == POSTED[acl]
    assert found.others_post == (b"joe" in acl)


@pytest.mark.parametrize("value", [b"%(T e A", b"nonsense", b"%(T e P default)"])
def test_without_an_access_list_the_rights_are_not_known(value: bytes) -> None:
    found = folder("news", [(b"news", value)])
    assert found is not None
    assert found.rights is None
