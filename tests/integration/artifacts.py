"""What the Makefile builds in dist/, and whether it was built from this tree."""

from __future__ import annotations

import importlib.util
from typing import Optional
from zipfile import ZipFile

from .commands import PROJECT

ZIPAPP = PROJECT / "dist" / "cyrusquota.pyz"


def missing_setuptools() -> Optional[str]:
    """What stands in the way of building a wheel, and what to do about it."""
    there = importlib.util.find_spec("setuptools") is not None
    # Before 70.1 making wheels took another package.
    if there and importlib.util.find_spec("setuptools.command.bdist_wheel") is not None:
        return None
    return "no setuptools that can build wheels here: pip install 'setuptools>=70.1'"


def missing_zipapp() -> Optional[str]:
    """What stands in the way of trying the zipapp, and what to do about it."""
    if not ZIPAPP.exists():
        return "no dist/cyrusquota.pyz here: make zipapp"
    with ZipFile(ZIPAPP) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    for path in (PROJECT / "cyrusquota").rglob("*.py"):
        if inside.get(str(path.relative_to(PROJECT))) != path.read_bytes():
            return f"dist/cyrusquota.pyz has another {path.name}: make zipapp"
    return None
