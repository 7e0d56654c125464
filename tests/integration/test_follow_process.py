"""cyrusquota-export --follow as a process, while Cyrus's own tools change what it follows."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import pytest

from cyrusquota.maps import FORMATS
from tests.integration.cyrus import Cyrus
from tests.integration.processes import until

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
#: Seconds that a change may take to get into the map. Looser here than what is promised: tests
#: share their machine with others.
SOON = 5.0
FULL = b"%(S (2048000 1000) M (1) AS (0) NF (1) MODSEQ 5)"
FINE = b"%(S (20480 1000) M (1) AS (0) NF (1) MODSEQ 6)"


class Following:
    """The process, its map, and what it says."""

    def __init__(self, server: Cyrus, directory: Path, *options: str) -> None:
        self.output = directory / "overquota"
        self.said = directory / "said"
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.settimeout(PATIENCE)
        self.notified.bind(str(directory / "notify"))
        words = ["-m", "cyrusquota.cli.export", "-C", str(server.conf), "-o", str(self.output)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(PROJECT), *sys.path[1:])),
            "NOTIFY_SOCKET": str(directory / "notify"),
            "WATCHDOG_USEC": "2000000",
        }
        environment.pop("WATCHDOG_PID", None)
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, *words, "--follow", "--poll", "0.1", *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def keys(self) -> Optional[set[str]]:
        """Whom the map lists, None without a map."""
        with contextlib.suppress(FileNotFoundError):
            lines = self.output.read_text().splitlines()
            return {line.partition(":")[0] for line in lines if not line.startswith("#")}
        return None

    def lines(self) -> list[str]:
        """What was said."""
        return self.said.read_text().splitlines()

    def becomes(self, *users: str, seconds: float = PATIENCE) -> None:
        """Wait until the map lists just these."""
        until(lambda: self.keys() == set(users), seconds=seconds)
        assert self.process.poll() is None, self.lines()

    def hears(self, field: str) -> None:
        """Wait for what the service manager is to be told."""
        while field not in self.notified.recv(4096).decode().splitlines():
            pass

    def end(self) -> int:
        """The exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notified.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def following(backend: str, directory: Path, *options: str) -> Iterator[tuple[Cyrus, Following]]:
    with Cyrus({"quota_db": backend}) as server:
        server.store(database(server), backend, {b"user.jane": FULL, b"user.joe": FINE})
        found = Following(server, directory, "--no-mailboxes", *options)
        try:
            yield server, found
        finally:
            found.close()


def together(server: Cyrus, records: dict[bytes, bytes]) -> None:
    """Commit all of `records` in one transaction."""
    lines = [b"SET %b {%d+}\r\n%b\n" % (key, len(data), data) for key, data in records.items()]
    batch = b"BEGIN\n%bCOMMIT\n" % b"".join(lines)
    server.run("cyr_dbtool", "-n", str(database(server)), "twoskip", "batch", stdin=batch)


def database(server: Cyrus) -> Path:
    return server.lib / "quotas.db"


@pytest.mark.parametrize("backend", ["twoskip", "skiplist", "quotalegacy", "flat"])
def test_what_cyrus_commits_is_in_the_map_soon(
    needs_cyrus: None, directory: Path, backend: str
) -> None:
    with following(backend, directory) as (server, follower):
        path = database(server)
        follower.becomes("jane")
        for _ in range(3):
            server.store(path, backend, {b"user.joe": FULL, b"user.mary": FULL})
            follower.becomes("jane", "joe", "mary", seconds=SOON)
            server.store(path, backend, {b"user.jane": FINE, b"user.joe": FINE})
            follower.becomes("mary", seconds=SOON)
            server.store(path, backend, {b"user.jane": FULL, b"user.mary": FINE})
            follower.becomes("jane", seconds=SOON)
        assert follower.end() == 0
        assert follower.lines() == []


@pytest.mark.parametrize(
    ("name", "options", "full", "fine"),
    [
        ("lsearch", ("--refuse",), b":fail: 552 5.2.2 ", None),
        ("cdb", ("--headroom", "1M"), b":defer: 4.2.2 ", b"free=1003520"),
        ("postfix", ("--message", "No room"), b"DEFER_IF_PERMIT 4.2.2 No room", None),
    ],
)
def test_maps_of_every_kind_are_followed(
    needs_cyrus: None,
    directory: Path,
    name: str,
    options: tuple[str, ...],
    full: bytes,
    fine: Optional[bytes],
) -> None:
    def says(expected: Optional[bytes]) -> bool:
        content = follower.output.read_bytes() if follower.output.exists() else b""
        found = FORMATS[name].value(content, b"joe")
        return found is not None and expected is not None and found.startswith(expected)

    with following("twoskip", directory, "--map-format", name, *options) as (server, follower):
        for _ in range(2):
            server.store(database(server), "twoskip", {b"user.joe": FULL})
            until(lambda: says(full), seconds=SOON)
            server.store(database(server), "twoskip", {b"user.joe": FINE})
            until(lambda: says(fine) if fine is not None else not says(b""), seconds=SOON)
        assert follower.end() == 0
        assert follower.lines() == []


def test_many_updates_and_a_repack(needs_cyrus: None, directory: Path) -> None:
    with following("twoskip", directory) as (server, follower):
        path = database(server)
        follower.becomes("jane")
        many = {b"user.u%04d" % number: FINE for number in range(3000)}
        server.store(path, "twoskip", many)
        inode = path.stat().st_ino
        server.run("cyr_dbtool", "-n", str(path), "twoskip", "repack")
        assert path.stat().st_ino != inode
        server.store(path, "twoskip", {b"user.u0007": FULL})
        follower.becomes("jane", "u0007")
        server.run("cyr_dbtool", "-n", str(path), "twoskip", "delete", "user.jane")
        follower.becomes("u0007")
        assert follower.end() == 0
        assert follower.lines() == []


def test_the_service_manager_hears_of_it(needs_cyrus: None, directory: Path) -> None:
    with following("twoskip", directory) as (server, follower):
        follower.hears("READY=1")
        follower.hears("STATUS=2 quota roots, 1 entry")
        follower.hears("WATCHDOG=1")
        # Another database, as imapd.conf has it then.
        other = server.lib / "other.db"
        server.store(other, "twoskip", {b"user.mary": FULL})
        with server.conf.open("a") as conf:
            conf.write(f"quota_db_path: {other}\n")
        follower.process.send_signal(signal.SIGHUP)
        follower.hears("RELOADING=1")
        follower.hears("READY=1")
        follower.becomes("mary")
        right = server.conf.read_text()
        server.conf.write_text(f"{right}no option\n")
        follower.process.send_signal(signal.SIGHUP)
        until(lambda: len(follower.lines()) == 1)
        server.conf.write_text(right)
        server.store(other, "twoskip", {b"user.joe": FULL})
        follower.becomes("joe", "mary", seconds=SOON)
        assert follower.end() == 0
        follower.hears("STOPPING=1")
        assert "expected 'option: value', found 'no option'" in follower.lines()[0]


def test_faults_are_said_once_and_pass(needs_cyrus: None, directory: Path) -> None:
    with following("twoskip", directory, "-v") as (server, follower):
        path = database(server)
        follower.becomes("jane")

        def said(text: str) -> int:
            lines = (line for line in follower.lines() if "re-reading everything" not in line)
            return sum(text in line for line in lines)

        def recovered(times: int) -> None:
            until(lambda: said("source: the problem is gone") == times)

        # Gone for a while.
        away = path.with_name("away")
        os.rename(path, away)
        until(lambda: said("no such file or directory") > 0)
        assert follower.keys() == {"jane"}
        os.rename(away, path)
        recovered(1)
        # Cut short, then rescued: another file.
        whole = path.read_bytes()
        os.truncate(path, 200)
        until(lambda: said("expected a committed size") > 0)
        assert follower.keys() == {"jane"}
        away.write_bytes(whole)
        shutil.chown(away, "cyrus", "mail")
        os.replace(away, path)
        recovered(2)
        server.store(path, "twoskip", {b"user.joe": FULL})
        follower.becomes("jane", "joe")
        until(lambda: said("overquota: added: joe") == 1)
        # Not a database any more.
        path.write_bytes(b"\0" * 5000)
        until(lambda: said("expected a twoskip header") > 0)
        assert follower.keys() == {"jane", "joe"}
        away.write_bytes(whole)
        os.replace(away, path)
        recovered(3)
        follower.becomes("jane")
        until(lambda: said("overquota: removed: joe") == 1)
        assert said("added: joe") == 1
        assert said("no such file or directory") == 1
        assert follower.end() == 0


def test_a_source_that_may_not_be_read_for_a_while(needs_cyrus: None, directory: Path) -> None:
    with following("twoskip", directory, "-v", "--user", "cyrus") as (server, follower):
        path = database(server)
        follower.becomes("jane")

        def said(text: str) -> int:
            lines = (line for line in follower.lines() if "re-reading everything" not in line)
            return sum(text in line for line in lines)

        # As after a restore by root.
        away = path.with_name("away")
        shutil.copyfile(path, away)
        away.chmod(0o600)
        os.replace(away, path)
        until(lambda: said("permission denied") == 1)
        assert follower.keys() == {"jane"}
        shutil.chown(path, "cyrus", "mail")
        until(lambda: said("source: the problem is gone") == 1)
        server.store(path, "twoskip", {b"user.joe": FULL})
        follower.becomes("jane", "joe")
        assert follower.end() == 0
        assert said("permission denied") == 1


def test_a_map_that_changes_too_much_is_held_until_a_run_accepts_it(
    needs_cyrus: None, directory: Path
) -> None:
    with following("twoskip", directory) as (server, follower):
        path = database(server)
        follower.becomes("jane")
        many = {b"user.u%04d" % number: FULL for number in range(100)}
        together(server, many)
        until(lambda: len(follower.lines()) == 1)
        (line,) = follower.lines()
        assert "held back: 100 entries would be added" in line
        command = line.rpartition("if this is right: ")[2].split()
        assert command[0] == "cyrusquota-export"
        assert "--follow" not in command and "--poll" not in command
        words = [sys.executable, "-m", "cyrusquota.cli.export", *command[1:]]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), *sys.path[1:]))}
        subprocess.run(words, env=environment, check=True, timeout=PATIENCE)
        server.store(path, "twoskip", {b"user.jane": FINE})
        follower.becomes(*(key.decode()[5:] for key in many))
        assert follower.end() == 0
        assert len(follower.lines()) == 1


def test_the_disk_is_full(needs_cyrus: None, directory: Path) -> None:
    small = directory / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with following("twoskip", directory, "-v", "-o", str(small / "overquota")) as (
            server,
            follower,
        ):
            follower.output = small / "overquota"
            follower.becomes("jane")
            filler = small / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            server.store(database(server), "twoskip", {b"user.joe": FULL})
            until(lambda: any("No space left" in line for line in follower.lines()))
            assert follower.keys() == {"jane"}
            filler.unlink()
            follower.becomes("jane", "joe")
            assert sum("No space left" in line for line in follower.lines()) == 1
            assert any("map: the problem is gone" in line for line in follower.lines())
            assert follower.end() == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_users_come_and_go_in_mailboxes_db(needs_cyrus: None, directory: Path) -> None:
    """Their rows and headers are Cyrus's own; a header names the root that it finds at CREATE."""
    with Cyrus({"quota_db": "twoskip"}) as server:
        server.start()
        server.store(
            database(server), "twoskip", {b"user.jane": FULL, b"user.joe": FULL, b"user.x": FINE}
        )
        server.create_user("jane")
        follower = Following(server, directory)
        try:
            follower.becomes("jane")
            server.create_user("joe")
            server.create_user("x")
            follower.becomes("jane", "joe")
            mailboxes = str(server.lib / "mailboxes.db")
            server.run("cyr_dbtool", "-n", mailboxes, "twoskip", "delete", "Nuser\x1fjane")
            follower.becomes("joe")
            assert follower.end() == 0
            assert follower.lines() == []
        finally:
            follower.close()


@pytest.mark.parametrize(
    "options",
    [
        ("--follow",),
        ("--follow", "-o", "map", "--dry-run"),
        ("--follow", "-o", "map", "--accept-change", "3"),
        ("--follow", "-o", "map", "--dump", "/dev/null"),
        ("--follow", "-o", "missing/map"),
    ],
)
def test_what_does_not_go_with_following(directory: Path, options: tuple[str, ...]) -> None:
    (directory / "quotas.db").write_bytes(b"")
    where = () if "--dump" in options else ("--db", "quotas.db")
    done = subprocess.run(
        [sys.executable, "-m", "cyrusquota.cli.export", *where, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), *sys.path[1:]))},
        cwd=directory,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode in (64, 73)
    assert len(done.stderr.splitlines()) == 1
