"""Build sdist and wheel: the same bytes in any directory, at any time, with any umask.

Run `python -m release.dists DIRECTORY` in a clone, or in an unpacked sdist, which gives the same
sdist again. setuptools builds in a copy of the project's files with fixed modes and times. Its
sdist contains the time of the build, so the archive is rewritten. The wheel is built from the
sdist, which shows that the sdist is complete. All times are that of the last commit, unless
SOURCE_DATE_EPOCH is set.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Iterator

_TREE = Path(__file__).resolve().parents[1]
_EPOCH = "SOURCE_DATE_EPOCH"
#: setuptools' own entry points, in the directory that is built.
_BUILD = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
_DERIVED = ("PKG-INFO", "__pycache__", "build", "cyrusquota.egg-info", "dist", "setup.cfg")


def files(tree: Path) -> list[str]:
    """Return the files of the project: those in git, or without git, those that are not derived."""
    if not (tree / ".git").exists():
        return [str(path.relative_to(tree)) for path in _walk(tree)]
    known = subprocess.run(["git", "ls-files", "-z"], cwd=tree, check=True, capture_output=True)
    names = known.stdout.decode().split("\0")
    return [name for name in names if name and (tree / name).exists()]


def _walk(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name in _DERIVED or path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def epoch(tree: Path) -> int:
    """Return the time for all files: that of the last commit."""
    if given := os.environ.get(_EPOCH):
        return int(given)
    if not (tree / ".git").exists():
        return int((tree / "pyproject.toml").stat().st_mtime)
    last = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(last, cwd=tree, check=True, capture_output=True).stdout)


def build(tree: Path, target: Path) -> None:
    """Write sdist and wheel into the directory `target`."""
    when = epoch(tree)
    target.mkdir(parents=True, exist_ok=True)
    with _directory() as copied, _directory() as made, _directory() as unpacked:
        for name in files(tree):
            _copy(tree / name, copied / name, when)
        sdist = _built("build_sdist", copied, made, when)
        _rewrite(sdist, target / sdist.name, when)
        with tarfile.open(target / sdist.name) as archive:
            _unpack(archive, unpacked)
        (inside,) = unpacked.iterdir()
        wheel = _built("build_wheel", inside, made, when)
        shutil.copyfile(wheel, target / wheel.name)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _copy(source: Path, target: Path, when: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(_mode(source.stat().st_mode))
    os.utime(target, (when, when))


def _mode(found: int) -> int:
    return 0o755 if found & 0o100 else 0o644


def _built(kind: str, tree: Path, target: Path, when: int) -> Path:
    """Return the file that setuptools builds from `tree`."""
    before = set(target.iterdir())
    environment = {**os.environ, _EPOCH: str(when), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", _BUILD, kind, str(target)]
    done = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stdout.decode(errors='replace')}")
    (new,) = set(target.iterdir()) - before
    return new


def _rewrite(sdist: Path, target: Path, when: int) -> None:
    """Rewrite the archive without what differs from one build to the next."""
    content = io.BytesIO()
    with (
        tarfile.open(sdist) as old,
        tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            if not member.isfile():
                continue
            entry = tarfile.TarInfo(member.name)
            entry.size, entry.mode, entry.mtime = member.size, _mode(member.mode), when
            new.addfile(entry, old.extractfile(member))
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=when) as packed:
        packed.write(content.getvalue())


def _unpack(archive: tarfile.TarFile, target: Path) -> None:
    for member in archive.getmembers():
        path = target / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = archive.extractfile(member)
        assert source is not None, "only files are in it"
        path.write_bytes(source.read())
        path.chmod(member.mode)
        os.utime(path, (member.mtime, member.mtime))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.dists")
    parser.add_argument("target", type=Path, metavar="DIRECTORY")
    os.umask(0o022)
    build(_TREE, parser.parse_args().target)


if __name__ == "__main__":
    main()
