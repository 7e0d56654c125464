"""Ask a real Exim, without a daemon: `-bh` plays an SMTP client, `-bv` verifies, `-be` expands."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterable, Iterator, Optional, Sequence

from .smtp import Reply, read_reply


def _readable_copy(source: Path) -> Path:
    """Return a copy that Exim's own user may read, wherever the checkout lies."""
    around = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    atexit.register(shutil.rmtree, around)
    copy = shutil.copytree(source, around / source.name)
    for path in (around, copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


#: Of the files to read; it is gone after the tests.
DIRECTORY = _readable_copy(Path(__file__).resolve().parents[2] / "exim")
CONF = DIRECTORY / "exim.conf"
ROUTER = DIRECTORY / "router.conf"
#: An address that is nobody's (RFC 5737).
CLIENT = "192.0.2.1"
#: The key for a map of whole addresses.
ADDRESS_KEY = "${lc:$local_part@$domain}"
PATIENCE = 60

_REPLY_LINE = re.compile(rb"[2-5][0-9][0-9][ -].*\r?\n")
_PROMPT = b"> "


def program() -> Optional[str]:
    """Exim's path; CYRUSQUOTA_EXIM names one to try the same with another version."""
    named = os.environ.get("CYRUSQUOTA_EXIM")
    if named:
        return named
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return shutil.which("exim4", path=path) or shutil.which("exim", path=path)


def user() -> str:
    """The user that Exim is when it need not be root."""
    return run("-bP", "exim_user").stdout.decode().rpartition("=")[2].strip()


def missing() -> Optional[str]:
    """What keeps Exim from running here and what to do about it, or None."""
    if program() is None:
        return "no Exim here: apt-get install exim4-daemon-light"
    if os.geteuid() != 0:
        return "only root may give Exim a configuration: run the integration tests as root"
    return None


@contextlib.contextmanager
def readable_directory() -> Iterator[Path]:
    """A new directory that the Exim user may read."""
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def replies_to(
    recipients: Sequence[str], overquota: Path, key: Optional[str] = None
) -> dict[str, Reply]:
    """Exim's reply to each recipient of one message, with `overquota` for its map."""
    dialogue = ["EHLO client.example.org", "MAIL FROM:<sender@example.org>"]
    dialogue += [f"RCPT TO:<{recipient}>" for recipient in recipients]
    spoken = "".join(f"{line}\r\n" for line in (*dialogue, "QUIT"))
    done = run(*_macros(overquota, key), "-bh", CLIENT, stdin=spoken.encode())
    stream = io.BytesIO(b"".join(_REPLY_LINE.findall(done.stdout)))
    greeting, hello, sender = (read_reply(stream) for _ in range(3))
    assert (greeting.code, hello.code, sender.code) == (220, 250, 250), done
    return {recipient: read_reply(stream) for recipient in recipients}


def codes_for(recipients: Sequence[str], overquota: Path, key: Optional[str] = None) -> list[int]:
    """The codes of Exim's replies to `recipients`, in their order."""
    return [reply.code for reply in replies_to(recipients, overquota, key).values()]


def verify(
    address: str, overquota: Path, *, as_sender: bool = False, conf: Path = CONF
) -> subprocess.CompletedProcess[bytes]:
    """The outcome of `exim -bv` (or -bvs): status 0 accepted, 1 deferred, 2 refused."""
    mode = "-bvs" if as_sender else "-bv"
    return run(*_macros(overquota), mode, address, conf=conf)


def expand(expressions: Iterable[bytes]) -> list[bytes]:
    """What each expression expands to, all by one Exim. None may be or give several lines."""
    lines = list(expressions)
    done = run("-be", stdin=b"".join(line + b"\n" for line in lines))
    # A prompt stands before each result, and one more is answered by the end of the input.
    results = [line[len(_PROMPT) :] for line in done.stdout.split(b"\n")]
    assert len(results) == len(lines) + 2, done
    return results[:-2]


def found_in(
    overquota: Path, keys: Iterable[bytes], absent: bytes, kind: str = "lsearch"
) -> list[bytes]:
    """What a lookup of `kind` gives for each of `keys`, which may be any bytes, or `absent`."""
    path, asked = bytes(overquota), kind.encode()
    return expand(
        b"${lookup{%b}%b{%b}{$value}{%b}}" % (_spelled(key), asked, path, absent) for key in keys
    )


def check_configuration(conf: Path) -> subprocess.CompletedProcess[bytes]:
    """The outcome of `exim -bV`, which reads the whole configuration."""
    return run("-bV", conf=conf)


def _macros(overquota: Path, key: Optional[str] = None) -> list[str]:
    macros = [f"-DCYRUSQUOTA_MAP={overquota}"]
    return macros if key is None else [*macros, f"-DCYRUSQUOTA_KEY={key}"]


def _spelled(key: bytes) -> bytes:
    """`key` byte by byte as an expansion string, so that none of it means anything."""
    return b"".join(b"\\x%02x" % byte for byte in key)


def run(
    *arguments: str, stdin: bytes = b"", conf: Path = CONF
) -> subprocess.CompletedProcess[bytes]:
    """The outcome of an Exim command."""
    exim = program()
    assert exim is not None
    command = [exim, "-C", str(conf), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)
