"""Put wheels into one file that a bare python3 runs: `python -m release.zipapp WHEEL... FILE`.

Holds what the wheels hold, licences included, and `programs.py` to choose the program. Names are
sorted, all times and modes are the same, and nothing is compressed, since libraries compress
differently: the bytes follow from the wheels alone.
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
#: The first that a zip file can express.
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def members(wheels: Iterable[Path]) -> dict[str, bytes]:
    """What goes into the file, by name."""
    found = {"__main__.py": _PROGRAMS.read_bytes()}
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                if _belongs(name):
                    found[name] = archive.read(name)
    return found


def write(target: Path, content: dict[str, bytes]) -> None:
    """Write the file whole, and put it in place of a former one."""
    new = target.with_name(f"{target.name}.new")
    with open(new, "wb") as file:
        file.write(_SHEBANG)
        with ZipFile(file, "w", ZIP_STORED) as archive:
            for name, data in sorted(content.items()):
                archive.writestr(_entry(name), data)
    new.chmod(0o755)
    os.replace(new, target)


def _belongs(name: str) -> bool:
    """Neither a directory, nor what an installer would put elsewhere or check."""
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
