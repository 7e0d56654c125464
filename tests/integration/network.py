"""A network of the tests' own, where packets can be dropped, with mounts of its own.

The test enters a network namespace with nothing but a loopback interface, and a mount namespace.
What it starts there runs there. The namespaces, nft rules and mounts go away with the last process
in them, however the test ends. Each host of the test is an address of 127.0.0.0/8.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator, Optional

#: CLONE_NEWNET and CLONE_NEWNS of sched.h, and the names of these namespaces in /proc.
_NETWORK, _MOUNTS = 0x40000000, 0x00020000
_NAMES = {_NETWORK: "net", _MOUNTS: "mnt"}
_libc = ctypes.CDLL(None, use_errno=True)
PATIENCE = 30


def missing() -> Optional[str]:
    """What keeps a network namespace from being made here and what to do about it, or None."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux")):
        if not shutil.which(program):
            return f"no {program} here: apt-get install {package}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "nft", "list", "ruleset"], capture_output=True
    )
    if tried.returncode:
        return f"no network namespaces for this user: run as root ({tried.stderr.decode().strip()})"
    return None


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Work in a new network with mounts of its own, and return; threads must have ended by then."""
    directory = os.getcwd()
    with contextlib.ExitStack() as stack:
        before = {}
        for kind, name in _NAMES.items():
            before[kind] = os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY)
            stack.callback(os.close, before[kind])
        _check(_libc.unshare(_NETWORK | _MOUNTS))
        # Entering a mount namespace changes to its root directory.
        stack.callback(os.chdir, directory)
        for kind, descriptor in before.items():
            stack.callback(_enter, descriptor, kind)
        _run("mount", "--make-rprivate", "/")
        _run("ip", "link", "set", "lo", "up")
        _run("nft", "add table inet cq")
        _run("nft", "add chain inet cq out { type filter hook output priority 0; }")
        yield


def _enter(descriptor: int, kind: int) -> None:
    _check(_libc.setns(descriptor, kind))


def mount(kind: str, options: str, source: str, target: Path) -> None:
    """Mount something where only this test sees it."""
    _run("mount", "-t", kind, "-o", options, source, str(target))


@contextlib.contextmanager
def cut_off(*hosts: str) -> Iterator[None]:
    """Drop what is sent to or from these hosts, without a word to either side."""
    cut(*hosts)
    try:
        yield
    finally:
        heal()


def cut(*hosts: str) -> None:
    """Drop what is sent to or from these hosts from now on."""
    for host in hosts:
        _run("nft", f"add rule inet cq out ip daddr {host} drop")
        _run("nft", f"add rule inet cq out ip saddr {host} drop")


def heal() -> None:
    """Drop nothing any more."""
    _run("nft", "flush chain inet cq out")


def _check(answer: int) -> None:
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done
