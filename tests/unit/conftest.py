"""Fixtures of the unit tests."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Iterator

import pytest

from tests.unit.programs import Program, exporter, program

_NOBODY = 65534


@pytest.fixture(autouse=True)
def cyrus_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `cyrus` be whoever runs the tests: a machine without Cyrus has no such user."""
    known = pwd.getpwnam

    def getpwnam(name: str) -> pwd.struct_passwd:
        return pwd.getpwuid(os.geteuid()) if name == "cyrus" else known(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)


@pytest.fixture(autouse=True)
def lines_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command wrap its lines: pytest-xdist sets COLUMNS in its processes."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Program:
    """A function that runs `cyrusquota` with its arguments."""
    return program(capfdbinary, monkeypatch)


@pytest.fixture
def run_export(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Program:
    """A function that runs `cyrusquota-export` with its arguments."""
    return exporter(capfdbinary, monkeypatch)


@pytest.fixture
def as_ordinary_user(tmp_path: Path) -> Iterator[None]:
    """Run the test as somebody who may not look into `forbidden` in the test's directory."""
    forbidden = tmp_path / "forbidden"
    forbidden.write_bytes(b"old\n")
    forbidden.chmod(0)
    root = os.geteuid() == 0
    tmp_path.chmod(0o555)
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o755)
