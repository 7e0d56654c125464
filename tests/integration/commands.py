"""The project's own commands, run as processes the way cron runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 60


def export(conf: Path, overquota: Path, *options: str) -> None:
    """Write the map `overquota` from the quotas behind `conf`; all must be well, and silent."""
    done = _run("cyrusquota.cli.export", "-C", str(conf), "-o", str(overquota), *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def export_dump(records: Mapping[str, str], overquota: Path, *options: str) -> None:
    """Write the map `overquota` from a dump of quota records; all must be well, and silent."""
    dump = overquota.with_name("dump")
    dump.write_text("".join(f"{root}\t{value}\n" for root, value in records.items()))
    done = _run("cyrusquota.cli.export", "--dump", str(dump), "-o", str(overquota), *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def run_export(conf: Path, overquota: Path) -> subprocess.CompletedProcess[bytes]:
    """The outcome of writing the map `overquota` from the quotas behind `conf`."""
    return _run("cyrusquota.cli.export", "-C", str(conf), "-o", str(overquota))


def listed(conf: Path) -> list[dict[str, Any]]:
    """What `cyrusquota list` says of the quotas behind `conf`, an object a root."""
    done = _run("cyrusquota.cli", "list", "-C", str(conf), "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_tool(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The outcome of `cyrusquota` with these arguments."""
    return _run("cyrusquota.cli", *arguments)


def monitored(
    command: str, conf: Path, overquota: Path, *options: str
) -> subprocess.CompletedProcess[bytes]:
    """The outcome of `cyrusquota check` or `metrics` on the quotas behind `conf` and a map."""
    places = ("-C", str(conf), "--map", str(overquota))
    return _run("cyrusquota.cli", command, *places, *options)


def printed(command: str, conf: Path, *options: str) -> str:
    """What `cyrusquota COMMAND` prints of the quotas behind `conf`; all must be well."""
    done = run_tool(command, "-C", str(conf), *options)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
