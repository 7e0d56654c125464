"""The project's own commands, run as processes the way cron runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, Optional

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 60
#: The exit status of `cyrusquota explain` for a user who is not here.
UNKNOWN_USER = 67


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


def run_export(conf: Path, overquota: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """The outcome of writing the map `overquota` from the quotas behind `conf`."""
    return _run("cyrusquota.cli.export", "-C", str(conf), "-o", str(overquota), *options)


def run_exporter(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The outcome of `cyrusquota-export` with these arguments."""
    return _run("cyrusquota.cli.export", *arguments)


def listed(conf: Path) -> list[dict[str, Any]]:
    """What `cyrusquota list` says of the quotas behind `conf`, an object a root."""
    done = _run("cyrusquota.cli", "list", "-C", str(conf), "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def mapped(*options: str) -> tuple[subprocess.CompletedProcess[bytes], set[str]]:
    """The outcome of an export to standard output, and the keys that it lists."""
    done = _run("cyrusquota.cli.export", *options)
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    return done, {line.partition(": ")[0] for line in lines if not line.startswith("#")}


def explained(conf: Path, asked: str, *options: str) -> Optional[dict[str, Any]]:
    """What `cyrusquota explain` says of a recipient, or None where it knows nobody of the name."""
    words = ("-C", str(conf), "--no-exim", "--format", "json", *options, "--", asked)
    done = run_tool("explain", *words)
    if done.returncode == UNKNOWN_USER:
        return None
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_tool(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The outcome of `cyrusquota` with these arguments."""
    return _run("cyrusquota.cli", *arguments)


def findings(conf: Path, root: Path, *options: str) -> list[dict[str, Any]]:
    """What `cyrusquota doctor` finds, with the crontabs and units below `root`."""
    words = ("-C", str(conf), "--root", str(root), "--format", "json", *options)
    found: list[dict[str, Any]] = json.loads(run_tool("doctor", *words).stdout)["findings"]
    return found


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


def started(*arguments: str) -> subprocess.Popen[bytes]:
    """`cyrusquota` with these arguments, while it runs."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [sys.executable, "-m", "cyrusquota.cli", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # pytest-xdist sets COLUMNS in its processes, and then lines are wrapped.
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment = {**inherited, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
