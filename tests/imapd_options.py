"""The options of imapd.conf that touch a quota, and those that docs/policies.md has a row for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable

TABLE = Path(__file__).parents[1] / "docs" / "policies.md"
#: What `cyr_info conf-all` of 3.6.1 lists.
RECORDED = Path(__file__).parent / "fixtures" / "options" / "3.6.1.txt"
_ABOUT_QUOTAS = re.compile("quota|maxmessages|overquota|catchall")


def documented() -> set[str]:
    """Return the options in the first column of the table."""
    text = TABLE.read_text("utf-8").split("## Options of imapd.conf")[1]
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}


def undocumented(names: Iterable[str]) -> set[str]:
    """Return those of `names` that touch a quota and have no row."""
    return {name for name in names if _ABOUT_QUOTAS.search(name)} - documented()
