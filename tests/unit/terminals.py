"""A command on a terminal of a given width, and what it showed there."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Mapping

CHECKOUT = Path(__file__).parents[2]


def on_terminal(
    *arguments: str, columns: int = 80, environment: Mapping[str, str] = {}
) -> tuple[int, str]:
    """The exit status of `cyrusquota` with `arguments`, and what it wrote on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
    process = subprocess.Popen(
        [sys.executable, "-m", "cyrusquota.cli", *arguments],
        cwd=CHECKOUT,
        env={**inherited, "PYTHONUTF8": "1", "TERM": "xterm", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown = _until_closed(ours)
    finally:
        os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")


#: What says how to write to a terminal.
_OWN = ("COLUMNS", "LINES", "NO_COLOR", "TERM", "PYTHONUTF8", "PYTHONIOENCODING")


def _until_closed(fd: int) -> bytes:
    chunks: list[bytes] = []
    while chunk := _read(fd):
        chunks.append(chunk)
    return b"".join(chunks)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError as error:
        # What Linux says when the other end is closed.
        if error.errno == errno.EIO:
            return b""
        raise
