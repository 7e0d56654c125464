"""quotalegacy trees, those Cyrus 3.6.1 wrote and odd ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Callable, Optional

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.quotalegacy import inotify, scan
from cyrusquota.cyrusdb.quotalegacy import reader as quotalegacy
from cyrusquota.cyrusdb.quotalegacy.follow import FollowedTree
from cyrusquota.errors import BadValue, CyrusQuotaError, DamagedDatabase, NoSuchSource
from cyrusquota.site import source
from cyrusquota.strategies.writers.quotalegacy import letter
from tests.recorded_fixtures import FIXTURES, main_roots, unpacked

Put = Callable[[str, bytes], None]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a file of a tree."""

    def write(path: str, content: bytes) -> None:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    return write


def records(
    path: Path, *, fulldirhash: Optional[bool] = None, virtdomains: Optional[bool] = None
) -> tuple[dict[bytes, bytes], list[CyrusQuotaError]]:
    problems: list[CyrusQuotaError] = []
    with quotalegacy.QuotaTree(
        path, problems.append, fulldirhash=fulldirhash, virtdomains=virtdomains
    ) as tree:
        return dict(tree), problems


@pytest.mark.parametrize("layout", ["plain", "fulldirhash", "virtdomains"])
def test_the_recorded_trees_have_the_expected_roots(layout: str, tmp_path: Path) -> None:
    found = list(source.read(unpacked(layout, tmp_path)))
    assert len(found) == 57
    assert {root.name: root for root in found} == {
        name: root.root for name, root in main_roots().items()
    }


@pytest.mark.parametrize("layout", ["plain", "fulldirhash"])
def test_quota_itself_may_be_named_where_there_are_no_domains(layout: str, tmp_path: Path) -> None:
    assert len(list(source.read(unpacked(layout, tmp_path) / "quota"))) == 57


def test_a_tree_tells_bytes_and_records(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"5\n1\n")
    put("quota/e/user.empty", b"")
    with cyrusdb.open(tmp_path) as db:
        assert len(list(db)) == 1
        assert db.snapshot() == cyrusdb.Snapshot("quotalegacy", size=4, records=1)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"5\n1\n", b"5 1"),
        (b"5 1\n", b"5 1"),
        (b"5\n1\n7\n", b"5 1\n7"),
        (b"%(S (5 1))\n", b"%(S (5 1))"),
        (b"%(X {2+}\r\nab)\n", b"%(X {2+}\r\nab)"),
        (b"\n", b""),
    ],
)
def test_content_is_a_value_without_its_last_line_break(
    content: bytes, value: bytes, put: Put, tmp_path: Path
) -> None:
    put("quota/j/user.jane", content)
    assert records(tmp_path) == ({b"user.jane": value}, [])


@pytest.mark.parametrize("name", ["user.jane.NEW", ".user.jane", ".nfs0001"])
def test_files_that_are_no_records_are_skipped(name: str, put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"5 1\n")
    put(f"quota/j/{name}", b"9 1\n")
    assert records(tmp_path) == ({b"user.jane": b"5 1"}, [])


@pytest.mark.parametrize(("letter", "other"), [("n", "u"), ("G", "C")])
@pytest.mark.parametrize("base", ["quota", "domain/e/example.org/quota"])
def test_a_user_called_new_is_told_from_what_is_about_to_replace_the_root_user(
    base: str, letter: str, other: str, put: Put, tmp_path: Path
) -> None:
    if letter.isupper():
        base = base.replace("/e/", "/O/")
    put(f"{base}/{other}/user", b"5 1\n")
    put(f"{base}/{other}/user.NEW", b"9 1\n")
    put(f"{base}/{letter}/user.NEW", b"7 1\n")
    prefix = b"example.org!" if "domain" in base else b""
    rows = {prefix + b"user": b"5 1", prefix + b"user.NEW": b"7 1"}
    assert records(tmp_path) == (rows, [])
    (tmp_path / base / other / "user.NEW").unlink()
    found = scan.select(tmp_path, lambda keys, values: [*range(len(keys))])
    assert found is not None
    assert dict(found.kept) == rows


def test_a_file_of_no_bytes_is_no_record_and_no_problem(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"")
    assert records(tmp_path) == ({}, [])


def test_a_file_without_its_last_line_break_is_a_problem(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"5\n1")
    put("quota/b/user.bob", b"5\n1\n")
    found, problems = records(tmp_path)
    assert found == {b"user.bob": b"5 1"}
    assert [type(problem) for problem in problems] == [DamagedDatabase]
    assert f"{tmp_path}/quota/j/user.jane, quota root 'user.jane'" in str(problems[0])


def test_a_subdirectory_is_a_problem(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane/x", b"5 1\n")
    put("quota/b/user.bob", b"5 1\n")
    found, problems = records(tmp_path)
    assert found == {b"user.bob": b"5 1"}
    assert [type(problem) for problem in problems] == [DamagedDatabase]


def test_a_file_where_a_directory_belongs_is_a_problem(put: Put, tmp_path: Path) -> None:
    put("quota/j", b"5 1\n")
    put("quota/b/user.bob", b"5 1\n")
    found, problems = records(tmp_path)
    assert found == {b"user.bob": b"5 1"}
    assert [type(problem) for problem in problems] == [DamagedDatabase]


def test_a_file_that_cannot_be_read_is_a_problem(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("quota/j/user.jane", b"5 1\n")
    # A link to itself cannot be opened, not even by root.
    os.symlink("user.loop", tmp_path / "quota" / "j" / "user.loop")
    found, problems = records(tmp_path)
    assert found == {b"user.jane": b"5 1"}
    assert "user.loop" in str(problems[0])
    assert len(problems) == 1


def test_a_file_that_goes_away_meanwhile_is_no_problem(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"5 1\n")
    put("quota/b/user.bob", b"5 1\n")
    problems: list[CyrusQuotaError] = []
    with quotalegacy.QuotaTree(tmp_path, problems.append) as tree:
        (tmp_path / "quota" / "j" / "user.jane").unlink()
        assert dict(tree) == {b"user.bob": b"5 1"}
    assert problems == []


def test_directories_that_cyrus_does_not_list_are_not_read(put: Put, tmp_path: Path) -> None:
    for directory in ("X", "Y", "jj", "1", "-", "\u00e4"):
        put(f"quota/{directory}/user.x", b"5 1\n")
    put("quota/j/user.jane", b"5 1\n")
    assert records(tmp_path) == ({b"user.jane": b"5 1"}, [])


@pytest.mark.parametrize(("full", "value"), [(False, b"1 1"), (True, b"2 1")])
def test_the_hash_in_use_decides_between_two_layouts(
    full: bool, value: bytes, put: Put, tmp_path: Path
) -> None:
    put("quota/j/user.jane", b"1 1\n")
    put("quota/I/user.jane", b"2 1\n")
    assert records(tmp_path, fulldirhash=full) == ({b"user.jane": value}, [])


def test_two_files_for_one_root_are_a_problem_where_the_hash_is_not_known(
    put: Put, tmp_path: Path
) -> None:
    put("quota/j/user.jane", b"1 1\n")
    put("quota/I/user.jane", b"2 1\n")
    put("quota/b/user.bob", b"3 1\n")
    found, problems = records(tmp_path)
    assert found == {b"user.bob": b"3 1"}
    assert [type(problem) for problem in problems] == [DamagedDatabase]
    assert "imapd.conf with -C" in str(problems[0])


@pytest.mark.parametrize("fulldirhash", [None, False])
def test_a_file_below_the_wrong_letter_is_a_problem(
    fulldirhash: Optional[bool], put: Put, tmp_path: Path
) -> None:
    put("quota/b/user.jane", b"9999 1\n")
    found, problems = records(tmp_path, fulldirhash=fulldirhash)
    assert found == {}
    assert len(problems) == 1


def test_domains_have_directories_of_their_own(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"1 1\n")
    put("domain/e/example.org/quota/m/user.max", b"2 1\n")
    put("domain/e/example.org/quota/root", b"3 1\n")
    put("domain/e/example.net/quota/t/shared.team", b"4 1\n")
    expected = {
        b"user.jane": b"1 1",
        b"example.org!user.max": b"2 1",
        b"example.org!": b"3 1",
        b"example.net!shared.team": b"4 1",
    }
    assert records(tmp_path) == (expected, [])
    assert records(tmp_path, virtdomains=True) == (expected, [])
    assert records(tmp_path, virtdomains=False) == ({b"user.jane": b"1 1"}, [])


def test_a_tree_of_domains_alone(put: Put, tmp_path: Path) -> None:
    put("domain/e/example.org/quota/m/user.max", b"2 1\n")
    assert records(tmp_path) == ({b"example.org!user.max": b"2 1"}, [])


@pytest.mark.parametrize("virtdomains", [None, False])
def test_names_with_a_domain_stay_in_quota_without_virtdomains(
    virtdomains: Optional[bool], put: Put, tmp_path: Path
) -> None:
    put("quota/o/example.org!user.max", b"1 1\n")
    expected = {b"example.org!user.max": b"1 1"}
    assert records(tmp_path, virtdomains=virtdomains) == (expected, [])


def test_names_with_a_domain_are_stranded_in_quota_with_virtdomains(
    put: Put, tmp_path: Path
) -> None:
    put("quota/o/example.org!user.max", b"1 1\n")
    put("domain/e/example.org/quota/m/user.max", b"2 1\n")
    assert records(tmp_path, virtdomains=True) == ({b"example.org!user.max": b"2 1"}, [])


def test_names_are_bytes(put: Put, tmp_path: Path) -> None:
    put("quota/m/user.m\udcfcller", b"5 1\n")
    put("quota/j/user.jane.my folder", b"5 1\n")
    found, _ = records(tmp_path)
    assert sorted(found) == [b"user.jane.my folder", b"user.m\xfcller"]


@pytest.mark.parametrize("empty", ["", "other"])
def test_a_directory_of_something_else_is_no_source(empty: str, put: Put, tmp_path: Path) -> None:
    (tmp_path / empty).mkdir(exist_ok=True)
    with pytest.raises(NoSuchSource, match="name the directory above quota/"):
        cyrusdb.open(tmp_path)


def test_an_empty_quota_directory_is_an_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "quota").mkdir()
    assert records(tmp_path) == ({}, [])
    assert records(tmp_path / "quota") == ({}, [])


def test_values_that_cyrus_calls_bad_are_reported_by_name() -> None:
    problems: list[CyrusQuotaError] = []
    tree = FIXTURES / "badvalues" / "quotalegacy" / "lib"
    found = {root.name: root for root in source.read(tree, on_problem=problems.append)}
    assert sorted(found) == ["user.good", "user.trunc"]
    assert found["user.good"].storage.is_over()
    assert found["user.trunc"].storage.limit is None
    keys = sorted(problem.place.key or b"" for problem in problems if isinstance(problem, BadValue))
    assert keys == [b"user.bad", b"user.bad2", b"user.bad3", b"user.trunc"]


def test_a_tree_knows_when_one_of_its_files_was_replaced(put: Put, tmp_path: Path) -> None:
    put("quota/j/user.jane", b"1 1\n")
    directory = tmp_path / "quota" / "j"
    os.utime(directory, ns=(0, 0))
    with cyrusdb.open(tmp_path) as db:
        assert not db.has_changed()
        put("quota/j/user.jane.NEW", b"2 1\n")
        (directory / "user.jane.NEW").rename(directory / "user.jane")
        assert db.has_changed()


def test_a_tree_that_went_away_has_changed(put: Put, tmp_path: Path) -> None:
    put("lib/quota/j/user.jane", b"1 1\n")
    with cyrusdb.open(tmp_path / "lib") as db:
        shutil.rmtree(tmp_path / "lib")
        assert db.has_changed()
        assert list(db) == []


@pytest.mark.parametrize(
    "path", ["quota/q/A.", "quota/q/user.", "quota/q/b..c", "domain/e/example.org/quota/q/C."]
)
def test_nothing_behind_the_first_dot_is_hashed_to_q(path: str, tmp_path: Path, put: Put) -> None:
    """These are the places where Cyrus 3.6.1 puts such names."""
    put(path, b"%(S (7))\n")
    with cyrusdb.open(tmp_path) as db:
        assert list(dict(db).values()) == [b"%(S (7))"]


@pytest.mark.parametrize(
    ("hashed", "plain", "full"),
    [
        (b"jane", "j", "I"),
        (b"bob", "b", "E"),
        (b"max", "m", "F"),
        (b"zero", "z", "H"),
        (b"u000123", "u", "B"),
        (b"123", "q", "Q"),
        (b"UpperCase", "u", "L"),
        (b"example.org", "e", "O"),
        (b"caf\xc3\xa9", "c", "S"),
        (b"-dash", "q", None),
        (b"", "q", "A"),
    ],
)
def test_the_writer_used_here_hashes_as_cyrus_does(
    hashed: bytes, plain: str, full: Optional[str]
) -> None:
    assert letter(hashed, full=False) == plain.encode()
    assert full is None or letter(hashed, full=True) == full.encode()


@pytest.mark.parametrize(
    ("fulldirhash", "paths"),
    [
        (False, ("q/user.", "q/user..x", "q/x.", "u/user", "j/user.Jane", "q/user.9")),
        (True, ("A/user.", "A/user..x", "A/x.", "C/user", "S/user.Jane", "L/user.9")),
    ],
)
def test_every_path_looks_where_cyrus_does(
    fulldirhash: bool,
    paths: tuple[str, ...],
    put: Put,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The letters are those of `cyr_dbtool ... quotalegacy set` of Cyrus 3.6.1."""
    for path in paths:
        put(f"quota/{path}", b"%(S (1))\n")
    names = {path.partition("/")[2].encode() for path in paths}
    assert records(tmp_path, fulldirhash=fulldirhash) == (dict.fromkeys(names, b"%(S (1))"), [])
    every = lambda keys, values: list(range(len(keys)))  # noqa: E731
    found = scan.select(tmp_path, every, fulldirhash=fulldirhash)
    assert found is not None
    assert {key for key, _ in found.kept} == names
    monkeypatch.setattr(inotify, "opened", lambda: None)
    with FollowedTree(tmp_path, fulldirhash=fulldirhash) as followed:
        changes = followed.changes()
        for path in paths:
            os.replace(tmp_path / "quota" / path, tmp_path / "new")
            os.replace(tmp_path / "new", tmp_path / "quota" / path)
        changes = followed.changes()
    assert changes.by_key == dict.fromkeys(names, b"%(S (1))")
    assert changes.is_complete
