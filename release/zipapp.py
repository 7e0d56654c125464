"""Put wheels into one file that python3 runs alone: `python -m release.zipapp WHEEL... FILE`.

It contains the files of the wheels, with their licences, and `programs.py`, which chooses the
program. Names are sorted, all times and modes are the same, and nothing is compressed, because
compression differs between libraries. So the same wheels always give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path
from typing import Iterable
from zipfile import ZIP_STORED, ZipFile, ZipInfo

_SHEBANG = b"#!/usr/bin/env python3\n"
_PROGRAMS = Path(__file__).with_name("programs.py")
#: The earliest time that a zip file can express.
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def members(wheels: Iterable[Path]) -> dict[str, bytes]:
    """Return the contents of the file, by name."""
    found = {"__main__.py": _PROGRAMS.read_bytes()}
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                if _belongs(name):
                    found[name] = archive.read(name)
    return found


def write(target: Path, content: dict[str, bytes]) -> None:
    """Write the file, replacing an earlier one atomically."""
    new = target.with_name(f"{target.name}.new")
    with open(new, "wb") as file:
        file.write(_SHEBANG)
        with ZipFile(file, "w", ZIP_STORED) as archive:
            for name, data in sorted(content.items()):
                archive.writestr(_entry(name), data)
    new.chmod(0o755)
    os.replace(new, target)


def _belongs(name: str) -> bool:
    """Return whether a member is a file that stays where it is when a wheel is installed."""
    top = name.split("/")[0]
    return not (top.endswith(".data") or name.endswith(("/", ".dist-info/RECORD")))


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, _TIME)
    entry.create_system = _UNIX
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.zipapp")
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    parser.add_argument("target", type=Path, metavar="FILE")
    given = parser.parse_args()
    write(given.target, members(given.wheels))


if __name__ == "__main__":
    main()
