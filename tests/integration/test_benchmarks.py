"""The benchmarks run, with little data; their figures are for a quiet machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from . import exim
from .commands import PROJECT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("needs_cyrus", "needs_exim", "needs_redis"),
]

ROOTS = ("--roots", "2000")
BENCHMARKS = {
    # No disk: reading with a cold cache would empty that of the whole machine.
    "bench": (*ROOTS, "--files", "200", "--users", "10", "--runs", "1", "--disk", ""),
    "bench.follow": (*ROOTS, "--rate", "20", "--seconds", "1"),
    "bench.many": (
        *(*ROOTS, "--stores", "2", "--entries", "100"),
        *("--rate", "20", "--seconds", "2", "--sample", "1"),
    ),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_measures_all_that_it_should(name: str) -> None:
    with exim.readable_directory() as directory:
        words = (*BENCHMARKS[name], "--directory", str(directory))
        done = subprocess.run(
            [sys.executable, "-m", name, *words],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert any(map(str.isdigit, done.stdout))
        # Nothing is left of what it has made.
        assert [*directory.iterdir()] == []
