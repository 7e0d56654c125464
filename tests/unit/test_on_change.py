"""--on-change runs a command after a change: without a shell, one at a time, within a limit."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota.cli import on_change
from cyrusquota.cli.on_change import ChangeCommand
from tests.unit.programs import Ran, exporter

PATIENCE = 30.0
Run = Callable[..., Ran]


@pytest.fixture
def run(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump").write_bytes(b"user.jane\t2000 1\n")
    return exporter(capfdbinary, monkeypatch)


def _python(code: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", code, *arguments])


#: Notes each call, with its argument.
_NOTE = "import sys; open('calls', 'a').write(sys.argv[1] + chr(10))"


def test_it_is_called_when_the_map_changes_and_not_otherwise(run: Run, tmp_path: Path) -> None:
    given = ("--dump", "dump", "-o", "map", "--on-change", _python(_NOTE, "$HOME; *"))
    assert run(*given) == Ran(0, "", "")
    assert run(*given) == Ran(0, "", "")
    assert (tmp_path / "calls").read_text() == "$HOME; *\n"
    (tmp_path / "dump").write_bytes(b"user.max\t2000 1\n")
    assert run(*given) == Ran(0, "", "")
    assert (tmp_path / "calls").read_text() == "$HOME; *\n" * 2


def test_it_is_not_called_for_a_map_that_is_held_back(run: Run, tmp_path: Path) -> None:
    given = ("--dump", "dump", "-o", "map", "--on-change", _python(_NOTE, "x"))
    run("--dump", "dump", "-o", "map")
    lines = (b"user.u%d\t2000 1\n" % number for number in range(40))
    (tmp_path / "dump").write_bytes(b"".join(lines))
    assert run(*given).status == 75
    assert run(*given, "--dry-run").status == 0
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (_python("raise SystemExit(3)"), "ended with 3"),
        ("/nonexistent/postmap map", "cannot be run: no such file or directory"),
    ],
)
def test_its_failure_is_reported_and_the_map_stays(
    command: str, how: str, run: Run, tmp_path: Path
) -> None:
    done = run("--dump", "dump", "-o", "map", "--on-change", command)
    assert (done.status, done.out, done.err.count("\n")) == (0, "", 1)
    assert done.err.endswith(f": {how}; the map is in place, run it by hand\n")
    assert "jane: " in (tmp_path / "map").read_text()


@pytest.mark.parametrize("command", ["", "  ", "'postmap"])
def test_what_is_no_command_is_wrong_usage(command: str, run: Run) -> None:
    done = run("--dump", "dump", "-o", "map", "--on-change", command)
    assert done.status == 64
    assert "--on-change: " in done.err


def test_what_it_prints_goes_to_standard_error(run: Run) -> None:
    done = run("--dump", "dump", "-o", "map", "--on-change", _python("print('done')"))
    assert done == Ran(0, "", "done\n")


def _until(condition: Callable[[], bool], command: ChangeCommand) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        command.step()
        time.sleep(0.01)


def test_changes_during_a_call_lead_to_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        "import os, time; open('begun', 'a').write('x')\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "open('ended', 'a').write('x')"
    )
    said: list[str] = []
    command = ChangeCommand((sys.executable, "-c", code), said.append)
    command.changed()
    _until(lambda: Path("begun").exists() and Path("begun").read_text() == "x", command)
    for _ in range(3):
        command.changed()
    assert Path("begun").read_text() == "x"
    Path("go").touch()
    _until(lambda: Path("ended").exists() and Path("ended").read_text() == "xx", command)
    command.finish()
    command.step()
    assert (Path("begun").read_text(), said) == ("xx", [])


def test_a_call_that_takes_too_long_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_change, "LIMIT", 0.2)
    said: list[str] = []
    command = ChangeCommand(("/bin/sh", "-c", "sleep 600 & wait"), said.append)
    command.changed()
    command.finish()
    assert len(said) == 1
    assert "was still running after 0.2 seconds, and was killed" in said[0]
