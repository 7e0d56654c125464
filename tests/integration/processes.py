"""Ending the servers that the tests start, each in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess

#: Seconds that a server may take to stop before it is killed.
PATIENCE = 30


def end(process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM) -> None:
    """Ask a server to end and wait for it; kill its process group if it does not."""
    process.send_signal(by)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
