"""Following a quotalegacy tree by what the kernel says, and where it says nothing or too much."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest

from cyrusquota.cyrusdb.follow import NeedsRescan
from cyrusquota.cyrusdb.quotalegacy import inotify
from cyrusquota.cyrusdb.quotalegacy.follow import FollowedTree
from cyrusquota.cyrusdb.quotalegacy.inotify import Event, Inotify, Mask

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")

_QUEUED = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def queue() -> Iterator[Inotify]:
    found = inotify.opened()
    assert found is not None
    yield found
    found.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Directories a to c, of which b has a root."""
    for letter in "abc":
        (tmp_path / "quota" / letter).mkdir(parents=True)
    _write(tmp_path, "user.bob", b"1 1\n")
    return tmp_path


def _write(tree: Path, root: str, content: bytes) -> None:
    """Rename a file into its place, as Cyrus does."""
    path = tree / "quota" / root.partition(".")[2][0] / root
    unfinished = path.with_name(f"{root}.NEW")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_events_come_with_the_bytes_of_a_name(queue: Inotify, tmp_path: Path) -> None:
    name = b"user.caf\xe9 \xff"
    path = os.path.join(os.fsencode(tmp_path), name)
    watch = queue.add(
        os.fsencode(tmp_path), Mask.MOVED_TO | Mask.MOVED_FROM | Mask.CLOSE_WRITE | Mask.DELETE
    )
    (tmp_path / "x").write_bytes(b"")
    os.rename(tmp_path / "x", path)
    os.unlink(path)
    assert list(queue.events()) == [
        Event(watch, Mask.CLOSE_WRITE, b"x"),
        Event(watch, Mask.MOVED_FROM, b"x"),
        Event(watch, Mask.MOVED_TO, name),
        Event(watch, Mask.DELETE, name),
    ]
    assert not list(queue.events())


def test_a_directory_is_told_from_a_file(queue: Inotify, tmp_path: Path) -> None:
    watch = queue.add(os.fsencode(tmp_path), Mask.CREATE)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").touch()
    assert list(queue.events()) == [
        Event(watch, Mask.CREATE | Mask.ISDIR, b"a"),
        Event(watch, Mask.CREATE, b"b"),
    ]


def test_what_cannot_be_watched_raises(queue: Inotify, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, number in (("nothing", errno.ENOENT), ("file", errno.ENOTDIR)):
        with pytest.raises(OSError) as caught:
            queue.add(os.fsencode(tmp_path / name), Mask.CREATE | Mask.ONLYDIR)
        assert caught.value.errno == number


def test_a_queue_is_not_left_to_other_programs(queue: Inotify) -> None:
    assert not os.get_inheritable(queue._fd)


def test_a_tree_is_followed_by_what_the_kernel_says(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FollowedTree(tree) as followed:
        # What is listed again would show in the times of directories.
        monkeypatch.setattr("cyrusquota.cyrusdb.quotalegacy.follow.time_of", lambda path: 0)
        _write(tree, "user.bob", b"2 1\n")
        _write(tree, "user.cat", b"3 1\n")
        assert followed.changes().by_key == {b"user.bob": b"2 1", b"user.cat": b"3 1"}
        (tree / "quota" / "c" / "user.cat").unlink()
        assert followed.changes().by_key == {b"user.cat": None}
        assert followed.changes().by_key == {}


def test_too_many_events_lead_to_a_full_reading(tree: Path) -> None:
    most = int(_QUEUED.read_text())
    if most > 1 << 17:
        pytest.skip(f"{_QUEUED} has {most}, which would take too long")
    with FollowedTree(tree) as followed:
        path = tree / "quota" / "b" / "user.bob"
        for number in range(most // 2 + 1):
            path = path.rename(path.with_name(f"user.b{number % 2}"))
        with pytest.raises(NeedsRescan, match="too much at once"):
            followed.changes()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "quota" / "a").rmdir(),
        lambda tree: (tree / "quota" / "d").mkdir(),
        lambda tree: (tree / "quota" / "b").rename(tree / "quota" / "d"),
        lambda tree: (tree / "quota").rename(tree / "old"),
        lambda tree: tree.rename(tree.with_name("old")),
    ],
    ids=["removed", "made", "renamed", "quota renamed", "tree renamed"],
)
def test_directories_that_come_and_go_lead_to_a_full_reading(
    change: Callable[[Path], object], tree: Path
) -> None:
    with FollowedTree(tree) as followed:
        change(tree)
        with pytest.raises(NeedsRescan, match="directories came or went"):
            followed.changes()


class _Few(Inotify):
    """A queue for so many directories, as with a low fs.inotify.max_user_watches."""

    left = 2

    def add(self, path: bytes, mask: int) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().add(path, mask)


def _by_times(tree: Path) -> None:
    """Check that a tree is followed, and that no queue is left open."""
    before = _open_files()
    with FollowedTree(tree) as followed:
        assert _open_files() == before
        followed.changes()
        _write(tree, "user.bob", b"2 1\n")
        (tree / "quota" / "c" / "user.cat").write_bytes(b"3 1\n")
        changes = followed.changes()
        assert changes.by_key == {b"user.bob": b"2 1", b"user.cat": b"3 1"}
    assert _open_files() == before


def test_with_too_few_watches_a_tree_is_followed_by_its_times(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "Inotify", _Few)
    _by_times(tree)


def test_where_the_kernel_gives_no_queue_a_tree_is_followed_by_its_times(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        """As with a low fs.inotify.max_user_instances."""

        inotify_add_watch = staticmethod(lambda *arguments: -1)
        inotify_init1 = staticmethod(lambda flags: -1)

        def __init__(self, name: None, use_errno: bool) -> None:
            assert use_errno

    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EMFILE)
    assert inotify.opened() is None
    _by_times(tree)


def test_without_inotify_a_tree_is_followed_by_its_times(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on other systems than Linux."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: object())
    assert inotify.opened() is None
    _by_times(tree)


def test_without_ctypes_a_tree_is_followed_by_its_times(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert inotify.opened() is None
    _by_times(tree)


def test_a_tree_that_cannot_be_watched_leaves_no_queue_open(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(Inotify):
        def add(self, path: bytes, mask: int) -> int:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(inotify, "Inotify", Refusing)
    before = _open_files()
    with pytest.raises(NeedsRescan, match="cannot be watched"):
        FollowedTree(tree)
    assert _open_files() == before
