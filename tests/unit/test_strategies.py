"""The strategies for other programs: their example, and what they need."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

from cyrusquota import strategies

PROJECT = Path(strategies.__file__).resolve().parents[2]
WITHOUT_HYPOTHESIS = "import sys; sys.modules['hypothesis'] = None; "


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_the_example_works() -> None:
    failed, tried = doctest.testmod(strategies)
    assert (failed, tried > 3) == (0, True)


def test_without_hypothesis_the_error_names_the_extra() -> None:
    done = python(WITHOUT_HYPOTHESIS + "import cyrusquota.strategies")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: cyrusquota.strategies needs Hypothesis: pip install 'cyrusquota[testing]'"
    )


def test_nothing_else_needs_hypothesis() -> None:
    modules = sorted(
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for path in (PROJECT / "cyrusquota").rglob("*.py")
        if "strategies" not in path.parts and path.stem != "__main__"
    )
    assert "cyrusquota.cli.export" in modules
    assert "cyrusquota.cyrusdb.twom.reader" in modules
    imports = f"import {', '.join(modules)}; "
    check = "assert not [name for name in sys.modules if 'cyrusquota.strategies' in name]"
    done = python(WITHOUT_HYPOTHESIS + imports.replace(".__init__", "") + check)
    assert (done.returncode, done.stderr) == (0, "")
