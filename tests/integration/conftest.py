"""Fixtures of the integration tests.

They skip where a program or root is missing, and fail instead under CYRUSQUOTA_NO_SKIP.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Iterator, Optional

import pytest

from . import (
    artifacts,
    certificates,
    cyrus,
    exim,
    fault_site,
    murder,
    network,
    postfix,
    redis_server,
)

NO_SKIP = "CYRUSQUOTA_NO_SKIP"


def _need(reason: Optional[str]) -> None:
    if reason is not None:
        (pytest.fail if os.environ.get(NO_SKIP) else pytest.skip)(reason)


@pytest.fixture(scope="session")
def needs_cyrus() -> None:
    """Skip or fail unless Cyrus can run."""
    _need(cyrus.missing())


@pytest.fixture(scope="session")
def needs_exim() -> None:
    """Skip or fail unless Exim can run."""
    _need(exim.missing())


@pytest.fixture(scope="session")
def needs_debian_exim(needs_exim: None) -> None:
    """Skip or fail unless Exim is configured Debian's way here."""
    there = Path("/usr/sbin/update-exim4.conf").exists()
    _need(None if there else "no Debian configuration of Exim here: apt-get install exim4-config")


@pytest.fixture(scope="session")
def needs_cdb() -> None:
    """Skip or fail unless tinycdb's command is here."""
    _need(None if shutil.which("cdb") else "no cdb here: apt-get install tinycdb")


@pytest.fixture(scope="session")
def needs_postfix() -> None:
    """Skip or fail unless Postfix can run."""
    _need(postfix.missing())


@pytest.fixture(scope="session")
def needs_redis() -> None:
    """Skip or fail unless Redis and its Sentinel can run."""
    _need(redis_server.missing())


@pytest.fixture(scope="session")
def needs_openssl() -> None:
    """Skip or fail unless certificates can be made."""
    _need(certificates.missing())


@pytest.fixture(scope="session")
def needs_network() -> None:
    """Skip or fail unless a test can have a network of its own."""
    _need(network.missing())


@pytest.fixture(scope="session")
def needs_murder() -> None:
    """Skip or fail unless a murder can run."""
    _need(murder.missing())


def _need_program(name: str, package: str) -> None:
    _need(None if shutil.which(name) else f"no {name} here: apt-get install {package}")


@pytest.fixture(scope="session")
def needs_promtool() -> None:
    """Skip or fail unless Prometheus's promtool is here."""
    _need_program("promtool", "prometheus")


@pytest.fixture(scope="session")
def needs_man() -> None:
    """Skip or fail unless man-db is here, with a groff."""
    _need_program("man", "man-db")


@pytest.fixture(scope="session")
def needs_mandoc() -> None:
    """Skip or fail unless mandoc is here."""
    _need_program("mandoc", "mandoc")


@pytest.fixture(scope="session")
def needs_bash() -> None:
    """Skip or fail unless bash is here."""
    _need_program("bash", "bash")


@pytest.fixture(scope="session")
def needs_zsh() -> None:
    """Skip or fail unless zsh is here."""
    _need_program("zsh", "zsh")


@pytest.fixture(scope="session")
def needs_fish() -> None:
    """Skip or fail unless fish is here."""
    _need_program("fish", "fish")


@pytest.fixture(scope="session")
def needs_strace() -> None:
    """Skip or fail unless strace is here."""
    _need_program("strace", "strace")


@pytest.fixture(scope="session")
def needs_setuptools() -> None:
    """Skip or fail unless a wheel can be built here."""
    _need(artifacts.missing_setuptools())


@pytest.fixture(scope="session")
def zipapp() -> Path:
    """Skip or fail unless the zipapp was made from this tree; where it is."""
    _need(artifacts.missing_zipapp())
    return artifacts.ZIPAPP


@pytest.fixture(scope="session")
def all_faults() -> Iterator[list[fault_site.Row]]:
    """What the tests of the fault matrix saw; it becomes a table in the end."""
    found: list[fault_site.Row] = []
    yield found
    if found:
        fault_site.report(found)


@pytest.fixture
def faults(
    all_faults: list[fault_site.Row], needs_redis: None, needs_exim: None, needs_network: None
) -> Iterator[list[fault_site.Row]]:
    """A network of the test's own, and where it adds what it saw."""
    with network.private():
        yield all_faults


@pytest.fixture
def overquota(needs_exim: None) -> Iterator[Path]:
    """Where to put a map; not yet there, in a directory that the Exim user may read."""
    with exim.readable_directory() as directory:
        yield directory / "overquota"
