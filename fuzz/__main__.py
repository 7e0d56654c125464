"""Fuzz targets for a given time each, and print how often each ran and what was found.

    python -m fuzz [--seconds N] [--jobs N] [TARGET...]

Needs atheris (the extra `fuzz`). Interesting inputs are kept in fuzz/corpus/TARGET for the next
time. An input that is a finding is kept in fuzz/findings/TARGET-*;
`python -m fuzz TARGET --input FILE` shows what it does. The exit status is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from . import seeds

HERE = Path(__file__).resolve().parent
CORPUS, FINDINGS = HERE / "corpus", HERE / "findings"
#: Limits for each input, which hold on a busy machine too.
SECONDS, MEBIBYTES = 20, 512
_DONE = re.compile(r"stat::number_of_executed_units:\s*([0-9]+)")
_RUNS = re.compile(r"^#([0-9]+)", re.MULTILINE)


def main() -> int:
    """Run the targets that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1)")
    parser.add_argument("--input", help="only run this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.targets) - set(seeds.TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; {', '.join(seeds.TARGETS)}")
    chosen = options.targets or list(seeds.TARGETS)
    if options.child:
        _fuzz(chosen[0], options.seconds)
    if options.input:
        _try(chosen[0], Path(options.input))
        return 0
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda name: _report(name, options.seconds), chosen))
    return int(any(found))


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzzing needs atheris: pip install 'cyrusquota[fuzz]', or make fuzz")


def _try(name: str, path: Path) -> None:
    with _temporary() as directory:
        tempfile.tempdir = directory
        from fuzz import targets

        targets.configure()
        targets.TARGETS[name](path.read_bytes())


def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary directory, in memory if possible."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def _fuzz(name: str, seconds: int) -> NoReturn:
    """Fuzz in this process. libFuzzer ends the process."""
    atheris = _atheris()
    with atheris.instrument_imports(include=["cyrusquota"]):
        from fuzz import targets
    targets.configure()
    corpus = CORPUS / name
    seeds.write(name, corpus)
    FINDINGS.mkdir(exist_ok=True)
    arguments = [
        *(name, f"-max_total_time={seconds}", f"-max_len={seeds.LARGEST}", "-print_final_stats=1"),
        *(
            f"-timeout={SECONDS}",
            f"-rss_limit_mb={MEBIBYTES}",
            f"-artifact_prefix={FINDINGS}/{name}-",
        ),
        *("-use_value_profile=1", str(corpus)),
    ]
    atheris.Setup(arguments, targets.TARGETS[name])
    atheris.Fuzz()
    sys.exit(0)


def _report(name: str, seconds: int) -> bool:
    """Fuzz in another process, and return whether there was a finding."""
    command = [sys.executable, "-m", "fuzz", "--child", "--seconds", str(seconds), name]
    start = time.monotonic()
    before = set(FINDINGS.glob("*"))
    with _temporary() as directory:
        environment = {**os.environ, "TMPDIR": directory}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    output = done.stdout.decode(errors="replace")
    took = time.monotonic() - start
    runs = _DONE.findall(output) or _RUNS.findall(output) or ["0"]
    print(f"{name}: {runs[-1]} executions in {took:.0f} seconds,", end=" ")
    if not done.returncode:
        print("nothing found", flush=True)
        return False
    kept = [str(path) for path in sorted(set(FINDINGS.glob("*")) - before)]
    print(f"a finding (exit status {done.returncode}): {' '.join(kept)}")
    print("\n".join(output.splitlines()[-40:]), flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
