"""Running the commands inside the test's own process."""

from __future__ import annotations

import io
from typing import Callable

import attrs
import click
import pytest

from cyrusquota.cli.export import export
from cyrusquota.cli.main import cyrusquota
from cyrusquota.cli.run import run


@attrs.frozen
class Ran:
    """What a command came to."""

    status: int
    out: str
    err: str


Program = Callable[..., Ran]


def program(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, *first: str
) -> Program:
    """A function that runs `cyrusquota` with the arguments `first` and its own."""
    return _program(cyrusquota, "cyrusquota", capfdbinary, monkeypatch, first)


def exporter(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Program:
    """A function that runs `cyrusquota-export`."""
    return _program(export, "cyrusquota-export", capfdbinary, monkeypatch, ())


def _program(
    command: click.Command,
    name: str,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str, ...],
) -> Program:
    def call(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            run(command, name, [*first, *arguments])
        out, err = capfdbinary.readouterr()
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, out.decode(), err.decode())

    return call
