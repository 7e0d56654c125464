"""Starting, ending and waiting for the servers of the tests, each in a session of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Mapping, Optional, Sequence

#: Seconds that a server may take to stop before it is killed.
PATIENCE = 30


def start(
    command: Sequence[str], said: Path, environment: Optional[Mapping[str, str]] = None
) -> subprocess.Popen[bytes]:
    """Start a process; what it says is appended to `said`.

    It is killed when the thread that starts it ends, so it does not outlive the tests.
    """
    setpriv = shutil.which("setpriv")
    bound = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    with said.open("ab") as output:
        return subprocess.Popen(
            [*bound, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def until(is_so: Callable[[], bool], what: str = "it is so", seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.01)


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """The processor time that a process has used; on request, with its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_children else 13])) / os.sysconf("SC_CLK_TCK")


def end(process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM) -> None:
    """Ask a server to end and wait for it; kill its process group if it does not."""
    process.send_signal(by)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a server, stopped or not, as `kill -9` does."""
    process.kill()
    process.wait(PATIENCE)
