"""What only root can show: full and read-only disks, foreign owners, reading as somebody else."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota import publish
from cyrusquota.errors import CannotCreateMap, MapError, MapForbidden, OptionError
from cyrusquota.publish import Ownership, PublishResult, privileges
from tests.failing_calls import ended, forked

OLD = b"# ours\nold: x\n"
PROJECT = Path(__file__).resolve().parents[2]
NOBODY = "nobody"
LABEL = b"system_u:object_r:etc_mail_t:s0\0"


def _need(reason: str, is_met: bool) -> None:
    if not is_met:
        (pytest.fail if os.environ.get("CYRUSQUOTA_NO_SKIP") else pytest.skip)(reason)


@pytest.fixture(autouse=True)
def needs_root() -> None:
    _need("run this as root", os.geteuid() == 0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A map in place, on a file system of 64 KiB of its own."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(tmp_path / "disk")]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    _need("this container may not mount a tmpfs; run the tests where root may", mounted)
    path = tmp_path / "disk" / "map"
    path.write_bytes(OLD)
    yield path
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    """A directory that every user can get at, also by the names above it."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o001 == 0:
            directory.chmod(directory.stat().st_mode | 0o011)
    return tmp_path


@pytest.mark.parametrize("kib", range(4, 60, 4))
def test_a_full_disk_leaves_the_old_map(disk: Path, kib: int) -> None:
    filler = disk.with_name("filler")
    filler.write_bytes(b"x" * 1024 * kib)
    new = b"y" * 1024 * (61 - kib)
    with pytest.raises(MapError, match=r"No space left on device; .* make room in") as caught:
        publish.publish(disk, new)
    assert caught.value.exit_status == 74
    assert disk.read_bytes() == OLD
    assert sorted(os.listdir(disk.parent)) == ["filler", "map"]
    filler.unlink()
    assert publish.publish(disk, new) is PublishResult.WRITTEN
    assert os.listdir(disk.parent) == ["map"]


def test_a_full_disk_does_not_keep_an_unchanged_map_from_being_renewed(disk: Path) -> None:
    os.utime(disk, (1, 1))
    with pytest.raises(OSError), disk.with_name("filler").open("wb", buffering=0) as filler:
        for _ in range(100):
            filler.write(b"x" * 1024)
    assert publish.publish(disk, OLD) is PublishResult.REFRESHED
    assert disk.stat().st_mtime > 1


def test_a_read_only_disk_is_named(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk.parent)], check=True)
    with pytest.raises(CannotCreateMap, match=r"mount .* for writing, or name another file"):
        publish.publish(disk, b"new")
    assert disk.read_bytes() == OLD


def test_a_map_is_given_away_with_the_mode_it_should_have(tmp_path: Path) -> None:
    path = tmp_path / "map"
    publish.publish(path, OLD, Ownership(0o640, owner=NOBODY, group=12345))
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (pwd.getpwnam(NOBODY).pw_uid, 12345)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert publish.publish(path, OLD, Ownership(0o640, NOBODY)) is PublishResult.REFRESHED


def test_a_map_that_somebody_else_owns_is_written_anew(tmp_path: Path) -> None:
    """He could change it at any time, were it only renewed."""
    path = tmp_path / "map"
    publish.publish(path, OLD, Ownership(owner=NOBODY))
    assert publish.publish(path, OLD) is PublishResult.WRITTEN
    assert path.stat().st_uid == 0


def test_a_real_label_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(OLD)
    try:
        os.setxattr(path, "security.selinux", LABEL)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        _need("the temporary directory's file system has no security labels", False)
    publish.publish(path, b"new")
    assert (path.read_bytes(), os.getxattr(path, "security.selinux")) == (b"new", LABEL)


def test_an_ordinary_user_is_told_what_he_lacks(open_to_all: Path) -> None:
    path = open_to_all / "map"
    path.write_bytes(OLD)
    open_to_all.chmod(0o755)

    def attempt() -> int:
        os.setuid(pwd.getpwnam(NOBODY).pw_uid)
        try:
            publish.publish(path, b"new")
        except MapForbidden as error:
            return 77 if "must be writable" in str(error) else 1
        return 2

    assert ended(forked(attempt)) == 77
    assert path.read_bytes() == OLD


def test_reading_as_somebody_else_opens_what_he_may_open(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0o600)
    groups = os.getgroups()
    with privileges.reading_as(NOBODY):
        user = pwd.getpwnam(NOBODY)
        assert (os.geteuid(), os.getegid()) == (user.pw_uid, user.pw_gid)
        assert 0 not in os.getgroups()
        with pytest.raises(PermissionError):
            secret.read_bytes()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)
    assert secret.read_bytes() == b"x"


def test_rights_come_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), privileges.reading_as(NOBODY):
        print(1 / 0)
    assert os.geteuid() == 0


def test_only_root_can_read_as_somebody_else() -> None:
    def attempt() -> int:
        os.setuid(pwd.getpwnam(NOBODY).pw_uid)
        with privileges.reading_as(NOBODY):
            pass
        with pytest.raises(OptionError, match="only root"), privileges.reading_as("root"):
            pass
        return 0

    assert ended(forked(attempt)) == 0


def test_an_export_reads_as_the_user_and_writes_as_root(open_to_all: Path) -> None:
    dump, hidden = open_to_all / "quotas.flat", open_to_all / "hidden.flat"
    for source in (dump, hidden):
        source.write_bytes(b"user.jane\t2048 1\n")
    hidden.chmod(0o600)
    (open_to_all / "maps").mkdir(mode=0o700)
    path = open_to_all / "maps" / "map"

    def export(source: Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "cyrusquota.cli.export", "--user", NOBODY]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(
            [*command, "--dump", str(source), "-o", str(path)],
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    status, said = export(hidden)
    assert (status, "permission denied" in said) == (77, True)
    assert not path.exists()
    assert export(dump) == (0, "")
    assert path.stat().st_uid == 0
    assert b"\njane: :defer: " in path.read_bytes()
