"""Sdist and wheel: the same bytes from anywhere, and whole."""

from __future__ import annotations

import email
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from release import dists

from .commands import PROJECT

PATIENCE = 120

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_setuptools")]


def built(tree: Path, target: Path, umask: int) -> dict[str, str]:
    """The digest of each file that a build in `tree` writes, by name."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["SOURCE_DATE_EPOCH"] = "1700000000"
    masked = ["sh", "-c", f'umask {umask:o}; exec "$@"', "sh"]
    subprocess.run(
        [*masked, sys.executable, "-m", "release.dists", str(target)],
        cwd=tree,
        env=environment,
        check=True,
        timeout=PATIENCE,
    )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()}


def test_an_sdist_builds_itself_and_the_wheel_again_to_the_byte(tmp_path: Path) -> None:
    """In another directory, at another time, with other modes."""
    first = built(PROJECT, tmp_path / "first", 0o022)
    assert {Path(name).suffix for name in first} == {".gz", ".whl"}
    (sdist,) = (tmp_path / "first").glob("*.tar.gz")
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(tmp_path)], check=True)
    (tree,) = tmp_path.glob("cyrusquota-*")
    for path in tree.rglob("*"):
        path.chmod(
            0o700 if (os.access(path, os.X_OK) and path.is_file()) or path.is_dir() else 0o600
        )
        os.utime(path)
    assert built(tree, tmp_path / "second", 0o077) == first

    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    missing = set(dists.files(PROJECT)) - inside
    assert {name for name in missing if not name.startswith(".")} == set()
    (wheel,) = (tmp_path / "first").glob("*.whl")
    package = {name for name in dists.files(PROJECT) if name.startswith("cyrusquota/")}
    assert package <= set(zipfile.ZipFile(wheel).namelist())


def test_an_index_is_told_whose_it_is_and_under_which_licence(tmp_path: Path) -> None:
    built(PROJECT, tmp_path, 0o022)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Author"] == "The cyrusquota authors"
    assert metadata["License-File"] == "LICENSE"
    told = {line for line in metadata.get_all("Classifier", []) if line.startswith(("D", "L"))}
    assert told == {"Development Status :: 4 - Beta", "License :: OSI Approved :: MIT License"}
