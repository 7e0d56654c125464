"""Every state of the map, for each variant, over SMTP to a daemon that runs as the Exim user."""

from __future__ import annotations

import pwd
import shutil
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota.maps import FORMATS, Entry

from . import exim, map_states, smtp
from .exim_daemon import VARIANTS, Daemon
from .map_states import Spoil

pytestmark = pytest.mark.integration

USERS = ["jane@example.net", "jane+imap@example.net", "bob@example.net"]
FULL = b":defer: 4.2.2 full"


def _good(variant: str) -> bytes:
    """A map that defers jane alone."""
    key = b"jane@example.net" if variant == "address" else b"jane"
    return FORMATS["cdb" if variant == "cdb" else "lsearch"].document([Entry(key, FULL)], ["x"])


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, needs_exim: None) -> Iterator[tuple[str, Path, Daemon]]:
    """A variant, where its map goes, and the daemon."""
    with exim.readable_directory() as directory:
        overquota = directory / "maps" / "overquota"
        with Daemon(overquota, VARIANTS[request.param]) as daemon:
            yield request.param, overquota, daemon


every_variant = pytest.mark.parametrize("served", VARIANTS, indirect=True, scope="module")
every_state = pytest.mark.parametrize(
    ("served", "spoil"),
    [
        pytest.param(name, spoil, id=f"{name}-{spoil.__name__.strip('_')}")
        for name in VARIANTS
        for spoil in (map_states.CDB if name == "cdb" else map_states.LSEARCH)
    ],
    indirect=["served"],
    scope="module",
)


@pytest.fixture
def variant(served: tuple[str, Path, Daemon]) -> Iterator[tuple[str, Path, Daemon]]:
    """The same, with nothing yet where the map goes."""
    directory = served[1].parent
    directory.mkdir(mode=0o755)
    yield served
    shutil.rmtree(directory)


@every_variant
def test_the_daemon_is_not_root(variant: tuple[str, Path, Daemon]) -> None:
    assert variant[2].uid() == pwd.getpwnam(exim.user()).pw_uid != 0


@every_variant
def test_a_good_map_defers_the_listed_user_only(variant: tuple[str, Path, Daemon]) -> None:
    name, overquota, daemon = variant
    overquota.write_bytes(_good(name))
    panicked = daemon.log("panic")
    assert smtp.codes(daemon.port, USERS) == [451, 451, 250], daemon.log() + daemon.log("panic")
    assert exim.run("-bv", USERS[2], conf=daemon.conf).returncode == 0
    assert daemon.log("panic") == panicked


@every_state
def test_a_broken_map_defers_nobody(variant: tuple[str, Path, Daemon], spoil: Spoil) -> None:
    name, overquota, daemon = variant
    spoil(overquota, _good(name))
    assert smtp.codes(daemon.port, USERS) == [250, 250, 250]
