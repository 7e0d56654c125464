"""Advice that names a command of Cyrus: run, it leads to a sound record with the right limit.

Each test breaks something and follows a recipe with Cyrus's own programs, to the end that lmtpd
counts again. Where we print the recipe, what is followed is what we print: the steps that a message
names, in the order in which it names them (`advised`).
"""

from __future__ import annotations

import enum
import itertools
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator, Sequence

import pytest

from . import commands
from .cyrus import DOMAIN, PATIENCE, PROGRAMS, Cyrus
from .verdicts import FULL, ROOMY, assert_listed, assert_told

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_cyrus")]

#: The limit that each user should have, in KiB.
LIMIT = 10
ROOT = "user.jane"


class Step(enum.Enum):
    """What an administrator can do about a quota root; each value is how we write it."""

    DELETE = "cyr_dbtool FILE BACKEND delete ROOT"
    SETQUOTA = "SETQUOTA"
    FIX = "quota -f"


DELETE, SETQUOTA, FIX = Step

BAD_FORMAT = {
    "text": b"garbage",
    "one number": b"5",
    "something behind": b"%(S (9999 5) M (0) AS (0) NF (0)) ",
}
CUT = {"early": b"%(S (9999 5", "at the end": b"%(S (9999 5) M (0) AS (0) NF (0)"}


def _take(cyrus: Cyrus, step: Step) -> str:
    """Do it, and tell how it went: OK, NO, or the exit status of a program."""
    if step is SETQUOTA:
        return cyrus.ask_for_quota(ROOT, LIMIT)
    words = {
        DELETE: ("cyr_dbtool", str(cyrus.quotas), cyrus.options["quota_db"], "delete", ROOT),
        FIX: ("quota", "-f", ROOT),
    }[step]
    return str(cyrus.attempt(*words).returncode)


def _follow(cyrus: Cyrus, steps: Sequence[Step]) -> list[str]:
    return [_take(cyrus, step) for step in steps]


def advised(text: str) -> list[Step]:
    """The steps that a text names, in its order."""
    names = {"delete": DELETE, "SETQUOTA": SETQUOTA, "quota -f": FIX}
    found = re.finditer(r"cyr_dbtool [^;`]*?\b(delete)\b|(SETQUOTA)|\b(quota -f)\b", text)
    return [names[match[match.lastindex or 0]] for match in found]


def _advice(cyrus: Cyrus) -> list[Step]:
    """What the export says to do about the root."""
    done, listed = commands.mapped("-C", str(cyrus.conf))
    assert (done.returncode, listed) == (0, set()), done
    (line,) = (line for line in done.stderr.decode().splitlines() if f"'{ROOT}'" in line)
    return advised(line)


def _assert_doctor_agrees(cyrus: Cyrus, recipe: Sequence[Step]) -> None:
    """The doctor says the same, or leaves it to the export to say."""
    for one in commands.findings(cyrus.conf, cyrus.directory):
        found = advised(f"{one['said']}; {one['do']}")
        assert found == list(recipe) * (len(found) // len(recipe)), one


def _storage(cyrus: Cyrus) -> tuple[int, int]:
    """What the row has as used, in bytes, and as the limit, in KiB."""
    found = re.match(
        rb"%\(S \((\d+) (\d+)\) M \(\d+\) AS \(\d+\) NF \(\d+\) MODSEQ \d+\)$", _row(cyrus)
    )
    assert found is not None, _row(cyrus)
    return int(found[1]), int(found[2])


def _row(cyrus: Cyrus) -> bytes:
    return cyrus.row(ROOT)


def _named_by_header(cyrus: Cyrus) -> bool:
    return f"Q {ROOT} ".encode() in cyrus.header("jane").read_bytes()


def _is_sound(cyrus: Cyrus) -> bool:
    """Whether limit and usage are right, and the header names the root."""
    try:
        used, limit = _storage(cyrus)
    except AssertionError:
        return False
    return (used, limit, _named_by_header(cyrus)) == (sum(cyrus.sizes("jane")), LIMIT, True)


def _assert_repaired(cyrus: Cyrus) -> None:
    """lmtpd counts with the row again, and nobody has anything to say of it."""
    assert _is_sound(cyrus), _row(cyrus)
    assert cyrus.attempt("quota").returncode == 0
    assert_told(cyrus, {"jane": 250})
    cyrus.fill("jane")
    assert_told(cyrus, {"jane": 452})


@pytest.fixture(params=["twoskip", "quotalegacy"])
def cyrus(request: pytest.FixtureRequest) -> Iterator[Cyrus]:
    """A server where jane has a message and a quota."""
    with Cyrus({"quota_db": request.param}) as running:
        running.start()
        _jane(running)
        yield running


def _jane(cyrus: Cyrus) -> None:
    cyrus.create_user("zoe")
    cyrus.set_quota("user.zoe", LIMIT)
    cyrus.create_user("jane")
    cyrus.set_quota(ROOT, LIMIT)
    assert cyrus.deliver("jane", 3000).code == 250
    assert _is_sound(cyrus)


# --- single values ---


@pytest.mark.parametrize("value", BAD_FORMAT.values(), ids=BAD_FORMAT)
@pytest.mark.parametrize("before", [[], [FIX]], ids=["", "after a quota -f"])
def test_a_value_in_bad_format_is_deleted_set_and_counted(
    cyrus: Cyrus, value: bytes, before: list[Step]
) -> None:
    cyrus.set_rows({ROOT: value})
    assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 451
    _follow(cyrus, before)
    assert _follow(cyrus, [DELETE, SETQUOTA, FIX]) == ["0", "OK", "0"]
    _assert_repaired(cyrus)


@pytest.mark.parametrize("value", [*BAD_FORMAT.values(), *CUT.values()], ids=[*BAD_FORMAT, *CUT])
def test_what_the_export_advises_about_a_value_repairs_it(cyrus: Cyrus, value: bytes) -> None:
    cyrus.set_rows({ROOT: value})
    steps = _advice(cyrus)
    assert FIX in steps
    _assert_doctor_agrees(cyrus, steps)
    _follow(cyrus, steps)
    _assert_repaired(cyrus)


@pytest.mark.parametrize("value", BAD_FORMAT.values(), ids=BAD_FORMAT)
def test_setquota_refuses_a_value_in_bad_format_and_quota_f_frees_its_user(
    cyrus: Cyrus, value: bytes
) -> None:
    """So neither is advice."""
    cyrus.set_rows({ROOT: value})
    assert _follow(cyrus, [SETQUOTA]) == ["NO"]
    assert _row(cyrus) == value
    assert _follow(cyrus, [FIX]) == ["0"]
    assert _row(cyrus) == value
    assert not _named_by_header(cyrus)
    assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 250


@pytest.mark.parametrize("value", CUT.values(), ids=CUT)
def test_a_cut_value_is_set_and_counted(cyrus: Cyrus, value: bytes) -> None:
    cyrus.set_rows({ROOT: value})
    assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 250
    assert _follow(cyrus, [SETQUOTA, FIX]) == ["OK", "0"]
    _assert_repaired(cyrus)


@pytest.mark.parametrize("value", CUT.values(), ids=CUT)
def test_quota_f_alone_writes_a_cut_value_without_a_limit(cyrus: Cyrus, value: bytes) -> None:
    cyrus.set_rows({ROOT: value})
    assert _follow(cyrus, [FIX]) == ["0"]
    assert re.match(rb"%\(S \(\d+\) M \(1\) ", _row(cyrus))


# --- files of a tree ---


@pytest.fixture
def tree() -> Iterator[Cyrus]:
    with Cyrus({"quota_db": "quotalegacy"}) as running:
        running.start()
        _jane(running)
        yield running


def test_a_quota_file_without_a_line_break_is_set_and_counted(tree: Cyrus) -> None:
    (path,) = tree.lib.glob(f"quota/*/{ROOT}")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert tree.lmtp_rcpt(f"jane@{DOMAIN}").code == 250
    assert _follow(tree, [FIX]) == ["70"]
    assert _follow(tree, [SETQUOTA, FIX]) == ["OK", "0"]
    _assert_repaired(tree)


def test_what_the_export_advises_about_a_quota_file_without_a_line_break_repairs_it(
    tree: Cyrus,
) -> None:
    (path,) = tree.lib.glob(f"quota/*/{ROOT}")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    steps = _advice(tree)
    assert FIX in steps
    _follow(tree, steps)
    _assert_repaired(tree)


def test_a_quota_file_in_the_wrong_directory_is_moved_to_the_right_one(tree: Cyrus) -> None:
    """SETQUOTA makes another beside it, and `quota` prints nothing while the first is there."""
    (path,) = tree.lib.glob(f"quota/*/{ROOT}")
    astray = tree.lib / "quota" / "x" / ROOT
    astray.parent.mkdir()
    path.rename(astray)
    assert tree.lmtp_rcpt(f"jane@{DOMAIN}").code == 250
    # No command of Cyrus's moves it.
    assert _advice(tree) in ([], [FIX])
    assert tree.attempt("quota").returncode == 70
    astray.rename(path)
    astray.parent.rmdir()
    assert _follow(tree, [FIX]) == ["0"]
    _assert_repaired(tree)


# --- whole files ---


def _clear_header(content: bytes) -> bytes:
    return bytes(64) + content[64:]


def _cut_to_header(content: bytes) -> bytes:
    return content[:30]


DAMAGES = [
    pytest.param(backend, damage, id=f"{backend}, {damage.__name__.strip('_')}")
    for backend, damage in itertools.product(
        ("twoskip", "skiplist", "flat"), (_clear_header, _cut_to_header)
    )
]


@pytest.mark.parametrize(("backend", "damage"), DAMAGES)
def test_a_damaged_file_is_restored_from_the_checkpoint(
    backend: str, damage: Callable[[bytes], bytes]
) -> None:
    """`ctl_cyrusdb -c` makes it, as an EVENT of cyrus.conf; `ctl_cyrusdb -r` repairs none of these.

    Of a tree there is no checkpoint.
    """
    with Cyrus({"quota_db": backend}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        cyrus.run("ctl_cyrusdb", "-c")
        assert cyrus.deliver("jane", 100).code == 250
        cyrus.halt()
        damaged = damage(cyrus.quotas.read_bytes())
        cyrus.quotas.write_bytes(damaged)
        done, _ = commands.mapped("-C", str(cyrus.conf))
        assert done.returncode in (0, 65)
        assert b"db.backup1" in done.stderr
        assert b"quota -f" in done.stderr
        assert b"ctl_cyrusdb -r" not in done.stderr or backend == "skiplist"
        cyrus.run("ctl_cyrusdb", "-r")
        assert cyrus.quotas.read_bytes() == damaged

        shutil.copy(cyrus.lib / "db.backup1" / "quotas.db", cyrus.quotas)
        shutil.chown(cyrus.quotas, "cyrus", "mail")
        cyrus.start()
        assert _follow(cyrus, [FIX]) == ["0"]
        _assert_repaired(cyrus)


def test_a_skiplist_log_that_is_damaged_is_repaired_by_ctl_cyrusdb_r() -> None:
    """The one damage here that it repairs, as its records lead on without the log."""
    with Cyrus({"quota_db": "skiplist"}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        cyrus.halt()
        content = bytearray(cyrus.quotas.read_bytes())
        # The offset in the DELETE before the last record.
        content[content.rindex(b"user.jane\0") - 9] ^= 1
        # Its last recovery was not in this very second, or Cyrus would leave out the next.
        content[44:48] = (int.from_bytes(content[44:48], "big") - 60).to_bytes(4, "big")
        cyrus.quotas.write_bytes(content)
        done, _ = commands.mapped("-C", str(cyrus.conf))
        assert done.returncode == 65
        assert b"ctl_cyrusdb -r" in done.stderr
        cyrus.run("ctl_cyrusdb", "-r")
        cyrus.start()
        _assert_repaired(cyrus)


def test_a_twoskip_record_with_a_wrong_checksum_is_set_and_counted() -> None:
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        content = bytearray(cyrus.quotas.read_bytes())
        content[content.rindex(b"user.jane%") + len("user.jane%(S (")] ^= 1
        cyrus.halt()
        cyrus.quotas.write_bytes(content)
        cyrus.start()
        assert _advice(cyrus) == [SETQUOTA, FIX]
        assert _follow(cyrus, [SETQUOTA, FIX]) == ["OK", "0"]
        assert cyrus.run("quota").count(b"user.") == 8
        _assert_repaired(cyrus)


def test_a_line_of_a_flat_file_that_is_none_is_removed_set_and_counted() -> None:
    """SETQUOTA alone leaves the line, and `quota` prints nothing while it is there.

    So a message has to say first that the line is to be removed, with Cyrus stopped.
    """
    with Cyrus({"quota_db": "flat"}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        good = cyrus.quotas.read_bytes()
        cyrus.quotas.write_bytes(good.replace(b"user.jane\t", b"user.jane "))
        done, _ = commands.mapped("-C", str(cyrus.conf))
        assert re.search(rb"(remove|delete) the line.*SETQUOTA.*quota -f", done.stderr)
        assert _follow(cyrus, [SETQUOTA, FIX]) == ["OK", "70"]
        cyrus.halt()
        lines = cyrus.quotas.read_bytes().splitlines(keepends=True)
        cyrus.quotas.write_bytes(b"".join(line for line in lines if b"\t" in line))
        cyrus.start()
        assert _follow(cyrus, [SETQUOTA, FIX]) == ["OK", "0"]
        _assert_repaired(cyrus)


def test_what_a_killed_writer_left_of_a_sqlite_file_is_rolled_back_by_showing_it() -> None:
    with Cyrus({"quota_db": "sql", "sql_engine": "sqlite"}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        before = _row(cyrus)
        journal = cyrus.quotas.with_name("quotas.db-journal")
        _kill_while_writing(cyrus, journal)
        done, _ = commands.mapped("-C", str(cyrus.conf))
        assert done.returncode == 74
        found = {one["id"]: one for one in commands.findings(cyrus.conf, cyrus.directory)}
        advice = f"`cyr_dbtool {cyrus.quotas} sql show`"
        assert advice in done.stderr.decode()
        assert advice in found["quota-db-bad"]["do"]

        cyrus.run("cyr_dbtool", str(cyrus.quotas), "sql", "show")
        assert not journal.exists()
        assert _row(cyrus) == before
        _assert_repaired(cyrus)


def _kill_while_writing(cyrus: Cyrus, journal: Path) -> None:
    """Let Cyrus's tool begin a transaction that it never ends, large enough to reach the file."""
    words = [str(PROGRAMS / "cyr_dbtool"), "-C", str(cyrus.conf), str(cyrus.quotas), "sql"]
    size = cyrus.quotas.stat().st_size
    with subprocess.Popen(
        [*words, "batch"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as writer:
        assert writer.stdin is not None
        rows = (b"SET user.x%d %b\n" % (number, b"x" * 200) for number in range(20_000))
        writer.stdin.write(b"BEGIN\n" + b"".join(rows))
        writer.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while not journal.exists() or cyrus.quotas.stat().st_size == size:
            assert writer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        writer.kill()


# --- headers ---


def test_quota_f_has_the_header_name_the_own_root(cyrus: Cyrus) -> None:
    """What `explain` advises where lmtpd and the quota database do not agree."""
    cyrus.create_user("joe")
    cyrus.set_rows({"user.joe": ROOMY})
    assert_told(cyrus, {"joe": 250})
    cyrus.set_quota("user.joe", LIMIT)
    cyrus.run("reconstruct", "user.joe")
    assert b"Q user.joe" not in cyrus.header("joe").read_bytes()
    cyrus.run("quota", "-f", "user.joe")
    assert b"Q user.joe" in cyrus.header("joe").read_bytes()
    cyrus.fill("joe")
    assert_told(cyrus, {"joe": 452})


def _forget_header(cyrus: Cyrus) -> None:
    """A row that was written behind the server's back: the header names no root."""
    row = _row(cyrus)
    cyrus.delete_rows([ROOT])
    cyrus.run("quota", "-f", ROOT)
    cyrus.set_rows({ROOT: row})


def _forget_row(cyrus: Cyrus) -> None:
    """A row that was deleted by hand: the header names a root that is gone."""
    cyrus.delete_rows([ROOT])


@pytest.mark.parametrize("forget", [_forget_header, _forget_row])
def test_what_the_doctor_advises_about_a_header_repairs_it(
    cyrus: Cyrus, forget: Callable[[Cyrus], None]
) -> None:
    forget(cyrus)
    assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 250
    found = {one["id"]: one for one in commands.findings(cyrus.conf, cyrus.directory)}
    assert f"the header of {ROOT} names" in found["header-root"]["said"]
    steps = advised(found["header-root"]["do"])
    assert steps == [SETQUOTA, FIX]
    _follow(cyrus, steps)
    _assert_repaired(cyrus)
    found = {one["id"]: one for one in commands.findings(cyrus.conf, cyrus.directory)}
    assert "header-root" not in found


@pytest.mark.parametrize("content", [b"", b"hello"], ids=["empty", "something else"])
def test_reconstruct_writes_a_broken_header_with_the_root_that_it_named(
    cyrus: Cyrus, content: bytes
) -> None:
    """Until then its user is refused for the moment (451), so to be listed does no harm."""
    cyrus.set_rows({"user": FULL})
    cyrus.create_user("joe")
    cyrus.header("joe").write_bytes(content)
    assert cyrus.lmtp_rcpt(f"joe@{DOMAIN}").code == 451
    assert_listed(cyrus, ["joe"], said="`reconstruct`")
    cyrus.run("reconstruct", "user.joe")
    assert_told(cyrus, {"joe": 452})


# --- totals ---


@pytest.mark.parametrize("kept", ["no", "yes"], ids=["never kept", "kept for a while"])
def test_totals_that_stand_still_are_rebuilt_with_b(kept: str) -> None:
    """With conversations switched on, by `ctl_conversationsdb -b USER`; -R does not do it."""
    options = {"conversations": kept, "quota_use_conversations": "yes"}
    with Cyrus({"quota_db": "twoskip", **options}) as cyrus:
        cyrus.start()
        cyrus.create_user("jane")
        for size, conversations in ((100, "no"), (3000, "yes")):
            cyrus.set_quota(ROOT, LIMIT)
            assert cyrus.deliver("jane", size).code == 250
            cyrus.halt()
            cyrus.configure({"conversations": conversations})
            cyrus.start()
        cyrus.set_quota(ROOT, 1)
        cyrus.run("ctl_conversationsdb", "-R", "jane")
        assert_told(cyrus, {"jane": 250})
        cyrus.run("ctl_conversationsdb", "-b", "jane")
        assert_told(cyrus, {"jane": 452})


# --- dumps ---


@pytest.mark.parametrize("backend", ["twoskip", "skiplist", "flat", "quotalegacy", "sql"])
def test_a_dump_by_cyr_dbtool_has_the_same_map(backend: str) -> None:
    with Cyrus({"quota_db": backend, "sql_engine": "sqlite"}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        cyrus.set_quota(ROOT, 1)
        dump = cyrus.directory / "dump"
        dump.write_bytes(cyrus.run("cyr_dbtool", str(cyrus.quotas), backend, "show"))
        _, keys = commands.mapped("--dump", str(dump))
        assert keys == {"jane"}
        assert_told(cyrus, {"jane": 452})


def test_a_list_by_ctl_mboxlist_takes_the_place_of_mailboxes_db() -> None:
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.start()
        _jane(cyrus)
        cyrus.set_quota(ROOT, 1)
        mailboxes = cyrus.directory / "mailboxes"
        mailboxes.write_bytes(cyrus.run("ctl_mboxlist", "-d"))
        assert_told(cyrus, {"jane": 452}, "--mailboxes", str(mailboxes))
