"""A map in place is the old one or the new one, whole, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import resource
import signal
import stat
import time
from pathlib import Path
from typing import Any, Iterator, Optional
from unittest import mock

import pytest

from cyrusquota import publish
from cyrusquota.errors import (
    CannotCreateMap,
    HeldBack,
    MapError,
    MapForbidden,
    MapLocked,
    OptionError,
)
from cyrusquota.publish import Ownership, PublishResult, lock, target_directory
from cyrusquota.publish.guard import Rejection
from tests.failing_calls import ended, failing, forked, killing, watched

OLD, NEW = b"# ours\nold: x\n", b"# ours\nnew: x\nother: x\n"
LONG_AGO = 1_000_000_000
ERRNOS = (
    *("EACCES", "EDQUOT", "EFBIG", "EINVAL", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENOLCK"),
    *("ENOMEM", "ENOSPC", "ENOTSUP", "ENXIO", "EPERM", "EROFS", "ESTALE", "ETXTBSY"),
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the map goes; not yet there."""
    (tmp_path / "maps").mkdir(mode=0o755)
    return tmp_path / "maps" / "map"


@pytest.fixture
def old(place: Path) -> Path:
    """A map in place, last renewed long ago."""
    return _put_old(place)


def _put_old(path: Path) -> Path:
    path.write_bytes(OLD)
    path.chmod(0o640)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def beside(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def is_untouched(path: Path) -> bool:
    status = path.stat()
    return (path.read_bytes(), status.st_mtime, status.st_mode & 0o7777) == (OLD, LONG_AGO, 0o640)


# What is put in place


def test_a_first_map_is_written_readable_by_all(place: Path) -> None:
    assert publish.publish(place, NEW) is PublishResult.WRITTEN
    assert place.read_bytes() == NEW
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert beside(place) == ["map"]


def test_a_map_that_says_something_else_is_replaced(old: Path) -> None:
    before = old.stat().st_ino
    with old.open("rb") as reader:
        assert publish.publish(old, NEW, Ownership(0o600)) is PublishResult.WRITTEN
        assert reader.read() == OLD
    assert old.read_bytes() == NEW
    assert (old.stat().st_ino, stat.S_IMODE(old.stat().st_mode)) != (before, 0o640)
    assert beside(old) == ["map"]


def test_a_map_that_says_the_same_is_only_renewed(old: Path) -> None:
    before = old.stat()
    outcome = publish.publish(
        old, b"# other\nold: x\n", Ownership(0o640), body=lambda content: content[-7:]
    )
    after = old.stat()
    assert outcome is PublishResult.REFRESHED
    assert (old.read_bytes(), after.st_ino) == (OLD, before.st_ino)
    assert after.st_mtime > LONG_AGO


def test_a_modification_time_in_the_future_is_set_back_to_now(old: Path) -> None:
    """The clock was set back: a time ahead of it would keep the map fresh when it is not."""
    os.utime(old, (LONG_AGO, time.time() + 1_000_000))
    assert publish.publish(old, OLD, Ownership(0o640)) is PublishResult.REFRESHED
    assert old.stat().st_mtime <= time.time()


def test_a_map_with_another_mode_is_written_anew(old: Path) -> None:
    assert publish.publish(old, OLD, Ownership(0o644)) is PublishResult.WRITTEN
    assert stat.S_IMODE(old.stat().st_mode) == 0o644


def test_a_map_that_has_a_second_name_is_written_anew(old: Path) -> None:
    """Who could make a link to it may be able to write it under that name."""
    os.link(old, old.with_name("second"))
    assert publish.publish(old, OLD, Ownership(0o640)) is PublishResult.WRITTEN
    assert old.stat().st_nlink == 1


def test_an_empty_file_is_replaced_unasked(place: Path) -> None:
    place.write_bytes(b"")
    refused = Rejection("no", "no")
    publish.publish(place, NEW, is_ours=lambda old: False, guard=lambda old, new: refused)
    assert place.read_bytes() == NEW


def test_an_unknown_owner_is_refused_before_anything_is_written(old: Path) -> None:
    for ownership in (Ownership(owner="no such user"), Ownership(group="no such group")):
        with pytest.raises(OptionError, match="is not known on this host; give one that"):
            publish.publish(old, NEW, ownership)
    for number in (1 << 32, "9" * 5000):
        with pytest.raises(OptionError, match="no user or group id"):
            publish.publish(old, NEW, Ownership(owner=number))
    assert is_untouched(old)


def test_an_owner_may_be_a_name_or_a_number(place: Path) -> None:
    uid, gid = os.geteuid(), os.getegid()
    publish.publish(place, NEW, Ownership(owner=uid, group=str(gid)))
    assert (place.stat().st_uid, place.stat().st_gid) == (uid, gid)
    assert publish.publish(place, NEW, Ownership(owner=str(uid))) is PublishResult.REFRESHED


def test_the_security_label_of_the_old_map_goes_to_the_new_one(old: Path) -> None:
    given: list[Any] = []
    with labelled(b"system_u:object_r:etc_mail_t:s0\0", given):
        publish.publish(old, NEW)
    assert given == [("security.selinux", b"system_u:object_r:etc_mail_t:s0\0")]


def test_a_file_system_without_labels_is_no_obstacle(old: Path) -> None:
    unsupported = OSError(errno.ENOTSUP, "Operation not supported")
    with mock.patch.object(os, "getxattr", side_effect=unsupported, create=True):
        assert publish.publish(old, NEW) is PublishResult.WRITTEN


@contextlib.contextmanager
def labelled(value: bytes, given: list[Any]) -> Iterator[None]:
    """As if every file that is read had the label `value`, and every new one had another."""

    def get(fd: int, name: str) -> bytes:
        return b"new" if stat.S_IMODE(os.fstat(fd).st_mode) == 0o644 else value

    def set_(fd: int, *label: Any) -> None:
        given.append(label)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(os, "getxattr", get, create=True))
        stack.enter_context(mock.patch.object(os, "setxattr", set_, create=True))
        yield


# What may not be replaced


def test_a_held_map_is_left_alone_and_not_renewed(old: Path) -> None:
    held = Rejection("it differs too much", "look", 7)
    with pytest.raises(HeldBack, match=r"map: held back: it differs too much; look$") as caught:
        publish.publish(old, NEW, guard=lambda old, new: held)
    assert (caught.value.exit_status, caught.value.ceiling) == (75, 7)
    with pytest.raises(HeldBack):
        publish.publish(old, OLD, Ownership(0o640), guard=lambda old, new: held)
    assert is_untouched(old)
    assert beside(old) == ["map"]


def test_a_guard_is_asked_about_the_old_map_and_the_new(old: Path) -> None:
    asked: list[tuple[bytes, bytes]] = []

    def guard(old: bytes, new: bytes) -> Optional[Rejection]:
        asked.append((old, new))
        return None

    publish.publish(old, NEW, guard=guard)
    assert asked == [(OLD, NEW)]


def test_a_first_map_is_not_guarded(place: Path) -> None:
    publish.publish(place, NEW, guard=lambda old, new: Rejection("no", "no"))
    assert place.read_bytes() == NEW


def test_a_foreign_file_is_not_overwritten(old: Path) -> None:
    with pytest.raises(CannotCreateMap, match="was not written by this program; move it away"):
        publish.publish(old, NEW, is_ours=lambda content: False)
    assert is_untouched(old)


def test_a_symbolic_link_is_followed_only_if_asked(old: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("maps/map")
    with pytest.raises(CannotCreateMap, match=r"link: is a symbolic link; remove it, or give"):
        publish.publish(link, NEW)
    assert is_untouched(old)
    assert publish.publish(link, NEW, follow_links=True) is PublishResult.WRITTEN
    assert (old.read_bytes(), os.readlink(link)) == (NEW, "maps/map")
    assert publish.in_place(link, follow_links=True) == NEW
    assert beside(old) == ["map"]


def test_a_link_to_nowhere_can_be_followed(place: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("maps/map")
    with pytest.raises(CannotCreateMap, match="is a symbolic link"):
        publish.publish(link, NEW)
    publish.publish(link, NEW, follow_links=True)
    assert place.read_bytes() == NEW


def test_a_directory_in_the_place_of_the_map_is_refused(place: Path) -> None:
    place.mkdir()
    with pytest.raises(CannotCreateMap, match="map: is a directory; remove it"):
        publish.publish(place, NEW)
    assert beside(place) == ["map"]


@pytest.mark.parametrize("path", [".", "..", "/", ""])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(CannotCreateMap, match=r"Is a directory"):
        publish.publish(path, NEW)


def test_a_fifo_in_the_place_of_the_map_is_refused_at_once(place: Path) -> None:
    os.mkfifo(place)
    with pytest.raises(CannotCreateMap, match="map: is not a plain file; name another"):
        publish.publish(place, NEW)


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(MapError):
        publish.publish("/dev/null", NEW)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_file_that_becomes_a_fifo_while_it_is_looked_at_is_refused(old: Path) -> None:
    def before(number: int, name: str) -> None:
        if name == "read":
            pytest.fail("read from a FIFO")
        if name == "open" and beside(old) == [".map.lock", "map"]:
            old.unlink()
            os.mkfifo(old)

    with watched(before), pytest.raises(CannotCreateMap, match="is not a plain file"):
        publish.publish(old, NEW)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CannotCreateMap, match=r"the directory .*/gone does not exist; make it first"
    ):
        publish.publish(tmp_path / "gone" / "map", NEW)


def test_a_name_too_long_for_the_file_system_is_refused(place: Path) -> None:
    with pytest.raises(CannotCreateMap, match="give it a shorter name"):
        publish.publish(place.with_name("m" * 252), NEW)


def test_a_directory_that_vanishes_during_the_run_is_named(old: Path) -> None:
    with publish.claim(old) as claim:
        old.unlink()
        old.with_name(".map.lock").unlink()
        old.parent.rmdir()
        with pytest.raises(CannotCreateMap, match="does not exist; make it first"):
            claim.put(NEW)


def test_a_directory_that_is_replaced_during_the_run_gets_no_map(old: Path) -> None:
    with publish.claim(old) as claim:
        moved = old.parent.rename(old.parent.with_name("moved"))
        old.parent.mkdir()
        with pytest.raises(CannotCreateMap, match="maps: was replaced during the run; run again"):
            claim.put(NEW)
    assert is_untouched(moved / "map")
    assert beside(old) == []


def test_a_directory_in_which_anybody_may_replace_files_is_refused(old: Path) -> None:
    old.parent.chmod(0o777)
    with pytest.raises(MapForbidden, match="chmod o-w it, or name a file in another"):
        publish.publish(old, NEW)
    assert is_untouched(old)
    old.parent.chmod(0o1777)
    assert publish.publish(old, NEW) is PublishResult.WRITTEN


# Files planted beside the map


@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_nothing_is_written_through_a_planted_temporary_file(
    old: Path, tmp_path: Path, plant: Any
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    plant(victim, old.with_name(".map.new"))
    assert publish.publish(old, NEW) is PublishResult.WRITTEN
    assert (old.read_bytes(), victim.read_bytes()) == (NEW, b"secret")
    assert beside(old) == ["map"]


def test_a_temporary_file_planted_at_the_last_moment_is_not_opened(
    old: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    with publish.claim(old) as claim:
        old.with_name(".map.new").symlink_to(victim)
        with pytest.raises(MapError):
            claim.put(NEW)
    assert is_untouched(old)
    assert victim.read_bytes() == b"secret"


def test_a_planted_lock_is_not_followed(old: Path, tmp_path: Path) -> None:
    planted = old.with_name(".map.lock")
    planted.symlink_to(tmp_path / "victim")
    with pytest.raises(CannotCreateMap, match=r"\.map\.lock: .*; remove the symbolic link$"):
        publish.publish(old, NEW)
    planted.unlink()
    os.mkfifo(planted)
    with pytest.raises(CannotCreateMap, match=r"\.map\.lock: is not a plain file; remove it$"):
        publish.publish(old, NEW)
    assert is_untouched(old)
    assert not (tmp_path / "victim").exists()


def test_leftovers_of_killed_runs_are_removed(old: Path) -> None:
    for name in (".map.new", ".map.lock"):
        old.with_name(name).write_bytes(b"half")
    assert publish.publish(old, OLD, Ownership(0o640)) is PublishResult.REFRESHED
    assert beside(old) == ["map"]


# Two at once


def test_a_second_run_says_so_at_once(old: Path) -> None:
    with publish.claim(old):
        with pytest.raises(MapLocked, match="another run holds the lock of this map") as caught:
            publish.publish(old, NEW)
        assert caught.value.exit_status == 75
        assert is_untouched(old)
        # Another map in the same directory is another matter.
        publish.publish(old.with_name("other"), NEW)
    assert publish.publish(old, NEW) is PublishResult.WRITTEN


def test_a_second_run_waits_as_long_as_it_is_told(old: Path) -> None:
    with contextlib.ExitStack() as first:
        first.enter_context(publish.claim(old))
        with mock.patch.object(time, "sleep", lambda seconds: first.close()):
            assert publish.publish(old, NEW, wait=1000) is PublishResult.WRITTEN


def test_waiting_ends_also_if_the_clock_is_set_back(old: Path) -> None:
    backwards = mock.patch.object(time, "time", return_value=0.0)
    with publish.claim(old), backwards, pytest.raises(MapLocked):
        publish.publish(old, NEW, wait=0.1)


def test_runs_that_wait_for_one_another_never_overlap(place: Path) -> None:
    """Each adds one to what it finds; nothing is lost if no two run at once."""

    def count() -> None:
        for _ in range(25):
            with publish.claim(place, wait=60) as claim:
                claim.put(b"%d" % (int(claim.in_place() or 0) + 1))

    with mock.patch.object(lock, "_PAUSE", 0.0001):
        children = [forked(count) for _ in range(4)]
        assert [ended(child) for child in children] == [0] * 4
    assert place.read_bytes() == b"100"
    assert beside(place) == ["map"]


# Every system call fails, and every system call is the last

SCENARIOS = {
    "first": (None, NEW, 0o644),
    "replace": (OLD, NEW, 0o644),
    "renew": (OLD, OLD, 0o640),
}


def scene(path: Path, name: str) -> None:
    for left in path.parent.iterdir():
        left.unlink()
    if SCENARIOS[name][0] is not None:
        _put_old(path)


def act(path: Path, name: str) -> PublishResult:
    _, content, mode = SCENARIOS[name]
    with labelled(b"label", []):
        ownership = Ownership(mode, os.geteuid(), os.getegid())
        return publish.publish(path, content, ownership)


def calls(path: Path, name: str) -> list[str]:
    scene(path, name)
    with watched() as made:
        act(path, name)
    return made


def whole(path: Path, name: str) -> bool:
    """Whether the map is the old one or the new one, with its mode."""
    old, new, mode = SCENARIOS[name]
    if not path.exists():
        return old is None
    found = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    return found in ((old, 0o640), (new, mode))


def as_before(path: Path, name: str) -> bool:
    return is_untouched(path) if SCENARIOS[name][0] is not None else not path.exists()


def test_every_kind_of_system_call_is_covered(place: Path) -> None:
    made = {call for name in SCENARIOS for call in calls(place, name)}
    assert made == {
        *("open", "fstat", "stat", "flock", "read", "getxattr", "setxattr", "write", "fchown"),
        *("fchmod", "fsync", "rename", "unlink", "utime", "close"),
    }


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("code", ERRNOS)
def test_a_call_that_fails_leaves_the_old_map_or_the_new_one(
    place: Path, name: str, code: str
) -> None:
    number = getattr(errno, code)
    for at, call in enumerate(calls(place, name)):
        scene(place, name)
        try:
            with watched(failing(at, OSError(number, os.strerror(number)))):
                act(place, name)
        except MapError as error:
            assert as_before(place, name), (at, call, error)
        else:
            assert place.read_bytes() == SCENARIOS[name][1], (at, call)
            assert place.stat().st_mtime > LONG_AGO, (at, call)
        act(place, name)
        assert beside(place) == ["map"], (at, call)


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_interrupted_run_leaves_the_old_map_or_the_new_one(place: Path, name: str) -> None:
    for at, call in enumerate(calls(place, name)):
        scene(place, name)
        with contextlib.suppress(KeyboardInterrupt), watched(failing(at, KeyboardInterrupt())):
            act(place, name)
        assert whole(place, name), (at, call)
        act(place, name)
        assert beside(place) == ["map"], (at, call)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_any_call_leaves_the_old_map_or_the_new_one(
    place: Path, name: str, when: str
) -> None:
    for at, call in enumerate(calls(place, name)):
        if when == "after" and call == "close":
            continue
        scene(place, name)

        def killed(at: int = at) -> None:
            with watched(**{when: killing(at)}):
                act(place, name)

        assert ended(forked(killed)) == -signal.SIGKILL, (at, call)
        assert whole(place, name), (at, call)
        assert set(beside(place)) <= {"map", ".map.new", ".map.lock"}
        act(place, name)
        assert beside(place) == ["map"], (at, call)


def test_a_disk_that_is_full_at_any_byte_leaves_the_old_map(old: Path) -> None:
    for room in range(len(NEW)):

        def cramped(room: int = room) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            try:
                publish.publish(old, NEW)
            except MapError as error:
                return error.exit_status
            return 0

        assert ended(forked(cramped)) == 74, room
        assert is_untouched(old)
        assert beside(old) == ["map"]


# kill -9, at random, under the eyes of a reader


def _signed(text: bytes) -> bytes:
    return text + hashlib.sha256(text).hexdigest().encode()


def _is_signed(content: bytes) -> bool:
    return _signed(content[:-64]) == content


@pytest.mark.parametrize("kills", [int(os.environ.get("CYRUSQUOTA_KILLS", "40"))])
def test_every_version_that_a_reader_can_open_is_whole(place: Path, kills: int) -> None:
    chance = random.Random(kills)
    seen: set[bytes] = set()
    publish.publish(place, _signed(b"first"))

    def write_on() -> None:
        for number in range(1_000_000):
            with publish.claim(place, wait=10) as claim:
                claim.put(_signed(b"%d " % number * chance.randrange(1, 40_000)), Ownership(0o640))

    for _ in range(kills):
        child = forked(write_on)
        until = time.monotonic() + chance.uniform(0, 0.05)
        while time.monotonic() < until:
            content = place.read_bytes()
            assert _is_signed(content)
            seen.add(content[-64:])
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        assert _is_signed(place.read_bytes())
        assert set(beside(place)) <= {"map", ".map.new", ".map.lock"}
    publish.publish(place, _signed(b"last"))
    assert beside(place) == ["map"]
    assert len(seen) > kills / 4


def test_directory_names_are_looked_up_once(old: Path) -> None:
    """Whatever the map's path leads to later, a run stays in the directory it has checked."""
    with target_directory.opened(old) as held:
        old.parent.rename(old.parent.with_name("moved"))
        found = held.in_place()
        assert found is not None
        assert found.content == OLD


def test_a_map_that_was_put_there_is_not_read_again_while_it_is_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publish.claim(place) as first:
        assert first.put(OLD) is PublishResult.WRITTEN
        assert first.known is not None

    with monkeypatch.context() as patched:
        patched.setattr(target_directory, "_content", lambda fd, size: pytest.fail("was read"))
        with publish.claim(place, known=first.known) as second:
            assert second.in_place() == OLD
            assert second.put(OLD) is PublishResult.REFRESHED


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_map_that_somebody_has_changed_is_read_again(is_replaced: bool, place: Path) -> None:
    """Also where it has as many bytes as before."""
    with publish.claim(place) as first:
        first.put(OLD)
    changed = place.with_name("changed") if is_replaced else place
    changed.write_bytes(OLD[::-1])
    assert first.known is not None
    # As late as any editor would be.
    os.utime(changed, ns=(0, first.known.status.st_mtime_ns + 10_000_000))
    changed.replace(place)
    with publish.claim(place, known=first.known) as second:
        assert second.in_place() == OLD[::-1]
        assert second.put(OLD) is PublishResult.WRITTEN
    assert place.read_bytes() == OLD


@pytest.mark.parametrize("size", [0, 1, 5_000, 3 << 20])
def test_a_map_is_read_whole_though_it_grows_meanwhile(size: int, place: Path) -> None:
    content = random.Random(size).randbytes(size)
    place.write_bytes(content)
    with place.open("rb") as file:
        for told in (0, size // 2, size, size + 1):
            file.seek(0)
            assert target_directory._content(file.fileno(), told) == content
