"""Run a command that fails, and keep what it printed and which errors it made.

A case is a command line with the files it finds. The program's own code runs it in a directory of
its own. Only failures of the operating system are simulated.
"""

from __future__ import annotations

import contextlib
import fcntl
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
from tests.error_cases.origins import PACKAGE
from tools.docs import CHECKOUT
from tools.docs.commands import PROGRAMS

FIXTURES = CHECKOUT / "tests" / "fixtures"
_NOBODY = 65534


@attrs.frozen
class ErrorResult:
    """What a case came to.

    `line` is the line of the output that matters; `kinds` are the errors that were made on the way
    there, `lines` the modules and lines of the package that made them.
    """

    status: int
    line: str
    kinds: tuple[type[Exception], ...]
    lines: frozenset[tuple[str, int]]


@attrs.frozen(eq=False)
class ErrorCase:
    """A command line that ends in an error, or reports a problem: what is wrong, and the error.

    `within` is for outputs of several lines: text that the line which matters contains.
    """

    title: str
    error: type[Exception]
    command: str
    files: Mapping[str, Union[bytes, Path, None]] = {}
    stdin: bytes = b""
    within: str = ""
    meanwhile: Callable[[], ContextManager[object]] = contextlib.nullcontext

    def run(self) -> ErrorResult:
        """Run the command in a new directory with its files."""
        with _directory() as directory, _recorded() as made:
            for name, content in self.files.items():
                _put(directory / name, content)
            with self.meanwhile():
                status, output = _run_in_here(shlex.split(self.command), self.stdin)
        # The error that ends a run is printed last; of several problems, the first is meant.
        lines = [line for line in output.splitlines() if self.within in line]
        line = lines[-1 if status else 0].replace(f"{directory}/", "")
        kinds = tuple(kind for kind, _ in made)
        return ErrorResult(status, line, kinds, frozenset(at for _, lines in made for at in lines))


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Run with the rights of a user who may not write to the directory."""
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


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock file, as another run does."""
    with open(name, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def open_to_all() -> ContextManager[object]:
    """Let any user write to the directory."""
    os.chmod(".", 0o777)
    return contextlib.nullcontext()


def failing(function: str, number: int) -> Callable[[], ContextManager[object]]:
    """Let the operating system's `function` fail with this errno."""
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
    # A plugin prints everything to standard output.
    return status, _written(err) or _written(out)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


_Made = list[tuple[type[Exception], list[tuple[str, int]]]]


@contextlib.contextmanager
def _recorded() -> Iterator[_Made]:
    """Record every error that is made meanwhile, and by which lines of the package."""
    made: _Made = []

    def new(cls: type[Exception], *arguments: Any, **named: Any) -> Exception:
        made.append((cls, list(_lines(sys._getframe(1)))))
        return Exception.__new__(cls, *arguments)

    own, of_click = (
        mock.patch.object(kind, "__new__", new) for kind in (CyrusQuotaError, click.BadParameter)
    )
    with own, of_click:
        yield made


def _lines(frame: Optional[FrameType]) -> Iterator[tuple[str, int]]:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            yield path.relative_to(PACKAGE).as_posix(), frame.f_lineno
        frame = frame.f_back
