"""A network of the tests' own, where packets can be dropped.

The test enters a network namespace with nothing but a loopback interface. What it starts there runs
there. The namespace and its nft rules go away with the last process in it, however the test ends.
Each host of the test is an address of 127.0.0.0/8.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from typing import Iterator, Optional

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
_libc = ctypes.CDLL(None, use_errno=True)
PATIENCE = 30


def missing() -> Optional[str]:
    """What keeps a network namespace from being made here and what to do about it, or None."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux")):
        if not shutil.which(program):
            return f"no {program} here: apt-get install {package}"
    tried = subprocess.run(["unshare", "--net", "nft", "list", "ruleset"], capture_output=True)
    if tried.returncode:
        return f"no network namespaces for this user: run as root ({tried.stderr.decode().strip()})"
    return None


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Work in a new network namespace, and return to the old one."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(_NEW_NETWORK))
        try:
            _run("ip", "link", "set", "lo", "up")
            _run(
                "nft",
                "add table inet cq; add chain inet cq out { type filter hook output priority 0; }",
            )
            yield
        finally:
            _check(_libc.setns(before, _NEW_NETWORK))
    finally:
        os.close(before)


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
