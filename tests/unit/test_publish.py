"""A map in place: whole or not at all, with the right mode, and never touched in vain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrusquota.errors import CannotCreateMap, MapError, MapForbidden, OptionError
from cyrusquota.maps import lsearch
from cyrusquota.publish import Ownership, PublishResult, in_place, publish

LONG_AGO = 1_000_000_000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "overquota"


def alone(target: Path) -> bool:
    """Whether nothing else lies in the map's directory."""
    return list(target.parent.iterdir()) == [target]


def test_a_new_map_is_written(target: Path) -> None:
    assert publish(target, b"a: 1\n") is PublishResult.WRITTEN
    assert target.read_bytes() == b"a: 1\n"
    assert alone(target)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600, 0o444])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_mode_is_the_one_asked_for_whatever_the_umask(
    target: Path, mode: int, umask: int
) -> None:
    old = os.umask(umask)
    try:
        publish(target, b"a: 1\n", Ownership(mode))
    finally:
        os.umask(old)
    assert target.stat().st_mode & 0o7777 == mode


def test_a_changed_map_is_a_new_file_renamed_over_the_old(target: Path) -> None:
    publish(target, b"a: 1\n")
    with target.open("rb") as reader:
        before = target.stat().st_ino
        assert publish(target, b"b: 2\n") is PublishResult.WRITTEN
        assert target.stat().st_ino != before
        assert reader.read() == b"a: 1\n"
    assert target.read_bytes() == b"b: 2\n"
    assert alone(target)


def test_an_unchanged_map_has_only_its_time_renewed(target: Path) -> None:
    publish(target, b"a: 1\n")
    os.utime(target, (LONG_AGO, LONG_AGO))
    before = target.stat().st_ino
    assert publish(target, b"a: 1\n") is PublishResult.REFRESHED
    assert target.stat().st_ino == before
    assert target.stat().st_mtime > LONG_AGO
    assert alone(target)


def test_comments_alone_do_not_change_a_map(target: Path) -> None:
    publish(target, b"# monday\na: 1\n", body=lsearch.body)
    assert publish(target, b"# tuesday\na: 1\n", body=lsearch.body) is PublishResult.REFRESHED
    assert target.read_bytes() == b"# monday\na: 1\n"


def test_a_map_with_another_mode_is_written_anew(target: Path) -> None:
    publish(target, b"a: 1\n", Ownership(0o600))
    assert publish(target, b"a: 1\n", Ownership(0o644)) is PublishResult.WRITTEN
    assert target.stat().st_mode & 0o7777 == 0o644


def test_an_empty_map_may_replace_a_full_one_and_be_kept(target: Path) -> None:
    publish(target, b"a: 1\n")
    assert publish(target, b"") is PublishResult.WRITTEN
    assert publish(target, b"") is PublishResult.REFRESHED
    assert target.read_bytes() == b""


@pytest.mark.parametrize("call", ["rename", "fsync", "fchmod"])
def test_a_failure_leaves_the_old_map_and_nothing_else(
    call: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(target, b"a: 1\n")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"os.{call}", full)
    with pytest.raises(MapError, match=r"No space left on device.*the existing map is unchanged"):
        publish(target, b"b: 2\n")
    assert target.read_bytes() == b"a: 1\n"
    assert alone(target)


def test_an_interruption_leaves_the_old_map_and_nothing_else(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(target, b"a: 1\n")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(target, b"b: 2\n")
    assert target.read_bytes() == b"a: 1\n"
    assert alone(target)


def test_a_directory_in_the_way_is_left_alone(target: Path) -> None:
    target.mkdir()
    (target / "inside").touch()
    with pytest.raises(CannotCreateMap, match="is a directory"):
        publish(target, b"a: 1\n")
    assert list(target.iterdir()) == [target / "inside"]
    assert alone(target)


@pytest.mark.parametrize("parent", ["gone", "file"])
def test_a_missing_directory_is_named(parent: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreateMap, match=f"the directory {tmp_path}/{parent} does not exist"):
        publish(tmp_path / parent / "overquota", b"a: 1\n")


@pytest.mark.parametrize("name", ["new", "forbidden"])
def test_where_it_may_not_write_it_says_so(
    name: str, tmp_path: Path, as_ordinary_user: None
) -> None:
    with pytest.raises(MapForbidden, match="must be writable"):
        publish(tmp_path / name, b"a: 1\n")


@pytest.mark.parametrize(
    "ownership",
    [Ownership(owner="no-such-user"), Ownership(group="no-such-group"), Ownership(owner="")],
)
def test_an_unknown_owner_or_group_is_the_callers_mistake(
    ownership: Ownership, target: Path
) -> None:
    with pytest.raises(OptionError, match="is not known on this host; give one that `getent"):
        publish(target, b"a: 1\n", ownership)
    assert not target.exists()


@pytest.mark.parametrize("number", ["\u00b2", "99999999999"])
def test_a_number_that_is_no_id_is_the_callers_mistake(number: str, target: Path) -> None:
    with pytest.raises(OptionError):
        publish(target, b"a: 1\n", Ownership(owner=number))


def test_owner_and_group_may_be_numbers(target: Path) -> None:
    own = Ownership(0o644, owner=os.geteuid(), group=str(os.getegid()))
    assert publish(target, b"a: 1\n", own) is PublishResult.WRITTEN
    assert publish(target, b"a: 1\n", own) is PublishResult.REFRESHED
    assert (target.stat().st_uid, target.stat().st_gid) == (os.geteuid(), os.getegid())


def test_what_is_in_place(target: Path) -> None:
    assert in_place(target) is None
    target.write_bytes(b"a: 1\n")
    assert in_place(target) == b"a: 1\n"
    with pytest.raises(CannotCreateMap):
        in_place(target.parent)
