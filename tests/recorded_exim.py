"""An Exim that gives recorded answers, for machines without one (tests/fixtures/exim)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "fixtures" / "exim" / "explain-4.96.json"
_PROGRAM = """\
#!{python} -IS
import json, sys
words = sys.argv[1:]
key = " ".join(words)
if "-be" in words:
    key += " " + sys.stdin.read().strip()
with open({calls!r}) as file:
    status, out, err = json.load(file).get(key, [70, "", "not recorded: " + key])
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


def recorded_exim(directory: Path, situation: str, map_path: Path, **options: str) -> str:
    """Write a program that answers as Exim did in a situation, and return its path.

    Its map is at `map_path`. `options` are main options that are other than they were.
    """
    text = RECORDED.read_text("utf-8").replace("@MAP@", str(map_path))
    calls: dict[str, Any] = json.loads(text)[situation]
    # This machine may not have the user.
    for name, value in {"exim_user": "no-such-user", **options}.items():
        calls[f"-bP {name}"] = [0, f"{name} = {value}\n", ""]
    (directory / "calls.json").write_text(json.dumps(calls))
    program = directory / "exim"
    program.write_text(_PROGRAM.format(python=sys.executable, calls=str(directory / "calls.json")))
    program.chmod(0o755)
    return str(program)
