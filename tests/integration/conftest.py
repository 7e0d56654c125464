"""Fixtures of the integration tests.

They skip where Cyrus, Exim or root is missing, and fail instead under CYRUSQUOTA_NO_SKIP.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import pytest

from . import cyrus, exim

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


@pytest.fixture
def overquota(needs_exim: None) -> Iterator[Path]:
    """Where to put a map; not yet there, in a directory that the Exim user may read."""
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    directory.chmod(0o755)
    yield directory / "overquota"
    shutil.rmtree(directory)
