"""cyrusquota-export and the map in place, as cron sees it: silence, one line, an exit status."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from pathlib import Path
from typing import Iterable, Optional, Union

import pytest

from cyrusquota import publish
from cyrusquota.cli import export, progress
from cyrusquota.maps.installed import installed_map
from cyrusquota.quota import QuotaRoot

pytestmark = pytest.mark.usefixtures("here")

LONG_AGO = 1_000_000_000


def source(full: Iterable[Union[int, str]], fine: int = 0, name: str = "quotas.flat") -> None:
    lines = [f"user.{user}\t2048 1\n" for user in full]
    lines += [f"user.fine{number}\t512 1\n" for number in range(fine)]
    Path(name).write_text("".join(lines))


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status of a run, and what it said on standard error; nothing on standard output."""
    arguments = arguments or ("--dump", "quotas.flat", "-o", "map")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cyrusquota-export", *arguments])
        with pytest.raises(SystemExit) as ended:
            export.main()
    out, err = capfd.readouterr()
    assert out == ""
    assert isinstance(ended.value.code, int)
    return ended.value.code, err


def test_success_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    assert run(capfd) == (0, "")
    assert run(capfd) == (0, "")


def test_the_numbers_are_told_if_asked(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane", "joe"], 1)
    run(capfd)
    source(["jane", "mary", "eve"], 1)
    status, said = run(capfd, "--dump", "quotas.flat", "-o", "map", "-v")
    assert (status, said.splitlines()) == (
        0,
        [
            "cyrusquota-export: map written: 2 entries added, 1 removed, 1 kept",
            "cyrusquota-export: 4 quota roots read from quotas.flat, 3 entries, 0 problems",
        ],
    )


def test_a_held_map_stays_and_the_command_that_is_offered_accepts_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    source(["jane"])
    run(capfd, "--dump", "quotas.flat", "-o", "the map")
    os.utime("the map", (LONG_AGO, LONG_AGO))
    before = Path("the map").read_bytes()
    source(range(1001))
    given = ("--dump", "quotas.flat", "-o", "the map", "--accept-change=1", "--accept-change", "2")
    status, said = run(capfd, *given)
    assert (status, said) == (
        75,
        "cyrusquota-export: the map: held back: 1001 entries would be added to the 1 in place and"
        " 1 removed, more than --accept-change 2 allows; the map in place stays and is not"
        " renewed; check the quota database; if this is right: cyrusquota-export --dump quotas.flat"
        " -o 'the map' --accept-change 1100\n",
    )
    assert (Path("the map").read_bytes(), os.stat("the map").st_mtime) == (before, LONG_AGO)
    command = shlex.split(said.rpartition("if this is right: ")[2])
    assert run(capfd, *command[1:]) == (0, "")
    assert Path("the map").read_bytes().count(b"\n") > 1000


def test_the_guard_is_on_without_being_asked(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    run(capfd)
    source(range(22))
    status, said = run(capfd)
    assert status == 75
    assert "more than --max-change added=20%,20 allows" in said
    arguments = ("--dump", "quotas.flat", "-o", "map", "--max-change", "added=20%,22")
    assert run(capfd, *arguments) == (0, "")


def test_a_source_that_lists_nothing_is_refused_and_the_way_out_is_named(
    capfd: pytest.CaptureFixture[str],
) -> None:
    source(["jane"], 9)
    run(capfd)
    source([])
    status, said = run(capfd, "--dump", "quotas.flat", "-o", "map", "--accept-change", "1000")
    assert (status, said) == (
        75,
        "cyrusquota-export: map: held back: quotas.flat has no quota roots, and the map in place"
        " came from 10; the map in place stays and is not renewed; check the quota database; if"
        " there are no quotas any more: rm map\n",
    )
    os.remove("map")
    assert run(capfd) == (0, "")


def test_a_foreign_file_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    Path("map").write_text("jane: by hand\n")
    assert run(capfd) == (
        73,
        "cyrusquota-export: map: was not written by this program; move it away, or name another"
        " file\n",
    )
    assert Path("map").read_text() == "jane: by hand\n"


def test_a_second_export_gives_way(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    with publish.claim("map"):
        assert run(capfd) == (
            75,
            "cyrusquota-export: map: another run holds the lock of this map; try again later, or"
            " give --wait SECONDS\n",
        )


def test_a_link_is_followed_if_asked(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    Path("link").symlink_to("map")
    arguments = ("--dump", "quotas.flat", "-o", "link")
    assert run(capfd, *arguments)[0] == 73
    assert run(capfd, *arguments, "--follow-links") == (0, "")
    assert Path("map").exists()
    assert Path("link").is_symlink()


def test_the_lock_is_held_while_the_source_is_read(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a slow run could overwrite the newer map of a quick one."""
    seen: list[list[str]] = []

    def progress(roots: Iterable[QuotaRoot], *_: object) -> Iterable[QuotaRoot]:
        seen.append(os.listdir())
        return roots

    monkeypatch.setattr(export, "progress", progress)
    source(["jane"])
    assert run(capfd) == (0, "")
    assert ".map.lock" in seen[0]


@pytest.mark.parametrize("missing", [True, False])
def test_a_source_that_cannot_be_read_changes_nothing(
    capfd: pytest.CaptureFixture[str], missing: bool
) -> None:
    source(["jane"])
    run(capfd)
    os.utime("map", (LONG_AGO, LONG_AGO))
    if missing:
        os.remove("quotas.flat")
    else:
        Path("quotas.flat").write_text("user.jane\t20")
    status, said = run(capfd)
    assert (status, said.count("\n")) == (66 if missing else 65, 1)
    assert os.stat("map").st_mtime == LONG_AGO
    assert sorted(os.listdir()) == (["map"] if missing else ["map", "quotas.flat"])


def test_only_twenty_problems_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    Path("quotas.flat").write_text("user.jane\t2048 1\n" + "no tab here\n" * 25)
    status, said = run(capfd)
    lines = said.splitlines()
    assert (status, len(lines)) == (0, 21)
    assert lines[20] == "cyrusquota-export: ... and 5 more problems"


def test_a_dry_run_tells_what_the_guard_would_say(capfd: pytest.CaptureFixture[str]) -> None:
    source([])
    run(capfd)
    source(range(30))
    before = Path("map").stat()
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
        arguments = ["--dump", "quotas.flat", "-o", "map", "-n"]
        patch.setattr(sys, "argv", ["cyrusquota-export", *arguments])
        export.main()
    out, _ = capfd.readouterr()
    assert "30 entries would be added, 0 removed, 0 kept\nand would be held back: 30 entries" in out
    assert Path("map").stat() == before


@pytest.mark.parametrize(
    "name",
    [
        "jane: :fail: x\nmary",
        "jane\nmary: :defer: x",
        "jane\r\n\r\nmary",
        "jane\x0b\x0cmary",
        "jane\x1b[2Jmary",
        '"jane": x\n"mary',
        "# comment\n mary",
        "jane\x85mary\u2028eve",
        "%s%n{0}${run{/bin/false}}",
        "; rm -rf ~ `id` $(id)",
    ],
)
def test_no_name_can_forge_an_entry(capfd: pytest.CaptureFixture[str], name: str) -> None:
    """A flat file escapes line breaks; a database may hold them."""
    escaped = name.encode().replace(b"\n", b"\xff\x8a").replace(b"\r", b"\xff\x8d")
    Path("quotas.flat").write_bytes(b"user." + escaped + b"\t2048 1\nuser.tom\t2048 1\n")
    run(capfd)
    content = Path("map").read_bytes()
    lines = [line for line in content.split(b"\n") if line and not line.startswith(b"#")]
    assert len(lines) <= 2
    assert any(line.startswith(b"tom: :defer: ") for line in lines)
    assert not any(line.startswith((b"mary", b"jane", b'"jane":')) for line in lines)
    assert all(line.rpartition(b": :defer: 4.2.2 ")[1] for line in lines)
    assert not set(content) & (set(range(32)) - {10})


# The progress bar


class Terminal:
    """Standard error as somebody watches it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.shown = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.shown += text
        return len(text)

    def flush(self) -> None:
        pass


def watched(expected: Optional[int]) -> list[int]:
    """The items of 2000 that come out, where as many more are read without coming out."""
    numbers = itertools.count(2, 2)
    return list(progress.progress(range(2000), lambda: next(numbers), expected))


def bar(expected: Optional[int] = None) -> str:
    """What somebody at a terminal sees while 2000 roots are read."""
    with pytest.MonkeyPatch.context() as patch:
        terminal = Terminal()
        patch.setattr(sys, "stderr", terminal)
        assert watched(expected) == list(range(2000))
    return terminal.shown


@pytest.mark.parametrize("expected", [None, 10, 2000])
def test_a_bar_is_shown_to_those_who_wait(
    monkeypatch: pytest.MonkeyPatch, expected: Optional[int]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1)
    assert "quota roots" in bar(expected)


def test_no_bar_is_shown_where_it_is_quick() -> None:
    assert bar() == ""


def test_no_bar_is_shown_where_nobody_watches(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1)
    assert watched(None) == list(range(2000))
    assert capfd.readouterr() == ("", "")


def test_a_map_in_another_format_is_converted_with_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    source(["jane", "max"])
    given = ("--dump", "quotas.flat", "-o", "map", "--map-format")
    before = "lsearch"
    for written in ("cdb", "lsearch", "cdb"):
        run(capfd, *given, before)
        word = f"cyrusquota-export: map: was a map in the format {before}; it is converted\n"
        assert run(capfd, *given, written) == (0, word)
        assert run(capfd, *given, written) == (0, "")
        found = installed_map("map")
        assert (found.format, found.keys) == (written, {b"jane", b"max"})
        before = written


def test_a_conversion_is_guarded_like_any_other_change(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    run(capfd)
    source(range(40))
    status, said = run(capfd, "--dump", "quotas.flat", "-o", "map", "--map-format", "cdb")
    assert status == 75
    assert "40 entries would be added to the 1 in place and 1 removed" in said
    assert installed_map("map").format == "lsearch"


def test_what_no_run_wrote_is_not_converted(capfd: pytest.CaptureFixture[str]) -> None:
    source(["jane"])
    Path("map").write_bytes(b"# Somebody's list\njane: :defer: full\n")
    status, said = run(capfd, "--dump", "quotas.flat", "-o", "map", "--map-format", "cdb")
    assert (status, "was not written by this program" in said) == (73, True)
