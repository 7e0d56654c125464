"""Make a command fail, and hear what it says.

A provocation is a command line with the files it finds, run by the program's own code in a
directory of its own. What it says is what an administrator would read; only the parts that vary are
replaced by a name for them. Faults of the operating system are simulated, and no other thing.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, Callable, ContextManager, Iterator, Mapping, Optional, Union
from unittest import mock

import attrs
import click

from cyrusquota.cli import run
from cyrusquota.errors import CyrusQuotaError
from papers._file import CHECKOUT
from papers.commands import PROGRAMS
from papers.sites import PACKAGE

FIXTURES = CHECKOUT / "tests" / "fixtures"
_NOBODY = 65534


@attrs.frozen
class Heard:
    """What came of a provocation.

    `line` is the one of standard error that counts, with names for what varies; `kinds` are the
    errors that were made on the way there, `lines` the modules and lines of those who made them.
    """

    status: int
    line: str
    kinds: tuple[type[Exception], ...]
    lines: frozenset[tuple[str, int]]


@attrs.frozen
class Provocation:
    """A command line that ends in an error, or says a problem; why that is, and what to do.

    `names` has the names that stand for what varies in the line, by what stands there. `within` is
    for answers of several lines: something that the one that counts has.
    """

    command: str
    cause: str
    remedy: str
    names: Mapping[str, str] = {}
    files: Mapping[str, Union[bytes, Path, None]] = {}
    stdin: bytes = b""
    within: str = ""
    meanwhile: Callable[[], ContextManager[object]] = contextlib.nullcontext

    def heard(self) -> Heard:
        """Run it."""
        with _directory() as directory, _recorded() as made:
            for name, content in self.files.items():
                _put(directory / name, content)
            with self.meanwhile():
                status, said = _run_in_here(shlex.split(self.command), self.stdin)
        # What ends a run is said last; of problems, the first is the one that was meant.
        lines = [line for line in said.splitlines() if self.within in line]
        line = lines[-1 if status else 0].replace(f"{directory}/", "")
        for found, name in self.names.items():
            assert found in line, f"{self.command}: no {found!r} in {line!r}"
            line = line.replace(found, name)
        kinds = tuple(kind for kind, _ in made)
        return Heard(status, line, kinds, frozenset(at for _, lines in made for at in lines))


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """With the rights of somebody who may do nothing in the directory."""
    os.chmod(".", 0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        os.chmod(".", 0o755)


def failing(function: str, number: int) -> Callable[[], ContextManager[object]]:
    """The operating system's `function` fails with this errno."""
    return lambda: mock.patch(function, side_effect=OSError(number, os.strerror(number)))


def _put(path: Path, content: Union[bytes, Path, None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content.read_bytes() if isinstance(content, Path) else content)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        os.chdir(directory)
        try:
            yield directory
        finally:
            os.chdir(before)


def _run_in_here(words: list[str], stdin: bytes) -> tuple[int, str]:
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    given = io.TextIOWrapper(io.BytesIO(stdin))
    status: object = None
    with mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err):
        try:
            run.run(PROGRAMS[words[0]], words[0], words[1:])
        except SystemExit as end:
            status = end.code
    assert isinstance(status, int)
    # Plugins say everything on standard output.
    return status, _written(err) or _written(out)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


_Made = list[tuple[type[Exception], list[tuple[str, int]]]]


@contextlib.contextmanager
def _recorded() -> Iterator[_Made]:
    """Every error of ours that is made meanwhile, and by which lines of the package."""
    made: _Made = []

    def new(cls: type[Exception], *arguments: Any, **named: Any) -> Exception:
        made.append((cls, list(_lines(sys._getframe(1)))))
        return Exception.__new__(cls, *arguments)

    ours, clicks = (
        mock.patch.object(kind, "__new__", new) for kind in (CyrusQuotaError, click.ClickException)
    )
    with ours, clicks:
        yield made


def _lines(frame: Optional[FrameType]) -> Iterator[tuple[str, int]]:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            yield path.relative_to(PACKAGE).as_posix(), frame.f_lineno
        frame = frame.f_back
