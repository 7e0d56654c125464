"""What exim/README.md says about refusing unknown users, beside a map."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable

import attrs
import pytest

from . import exim, recipes, smtp
from .cyrus import Cyrus
from .exim_daemon import VARIANTS, Daemon, Variant
from .recipes import RECIPES

pytestmark = pytest.mark.integration

README = exim.DIRECTORY / "README.md"
LISTED = exim.DIRECTORY / "users" / "router.conf"
FULL = ":defer: 4.2.2 The user's mailbox is full."


def _both(first: Path, second: Path, directory: Path) -> Path:
    """Return a file that includes both routers."""
    path = directory / "both.conf"
    path.write_text(f".include {first}\n.include {second}\n")
    return path


def _codes(daemon: Daemon, *users: str) -> list[int]:
    return smtp.codes(daemon.port, [f"{user}@example.net" for user in users])


def test_those_who_are_not_in_the_list_are_refused(overquota: Path) -> None:
    overquota.write_text(f"jane: {FULL}\n")
    users = overquota.with_name("users")
    users.write_text("jane\nbob\n")
    router = _both(LISTED, exim.ROUTER, overquota.parent)
    macros = {"CYRUSQUOTA_USERS": str(users)}
    with Daemon(overquota, Variant(router), macros=macros, aliases={"sales": "bob"}) as daemon:
        names = ("jane", "bob", "BOB+x", "sales", "carl", "carl+x", "postmaster")
        assert _codes(daemon, *names) == [451, 250, 250, 250, 550, 550, 250]
        with smtp.session(daemon.port) as talk:
            talk.begin(sender="carl@example.net")
            assert talk.rcpt("bob@example.net").code == 250
            assert talk.rcpt("carl@example.net").text == "5.1.1 Unknown user"


def _absent(path: Path) -> None:
    path.unlink()


def _unreadable(path: Path) -> None:
    path.chmod(0o600)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o755)


@pytest.mark.parametrize("spoil", [_absent, _unreadable, _directory])
def test_a_list_that_cannot_be_read_refuses_nobody(
    spoil: Callable[[Path], None], overquota: Path
) -> None:
    users = overquota.with_name("users")
    users.write_text("bob\n")
    with Daemon(overquota, Variant(LISTED), macros={"CYRUSQUOTA_USERS": str(users)}) as daemon:
        assert _codes(daemon, "bob", "carl") == [250, 550]
        spoil(users)
        assert _codes(daemon, "bob", "carl") == [250, 250]


def _in_the_readme() -> str:
    """Return what goes into the ACL for RCPT, behind the verification."""
    found = re.search(r"^ +(deny    condition = (?:.+\n)+)", README.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_a_callout_behind_the_map_remembers_who_exists(needs_cyrus: None, overquota: Path) -> None:
    """When Cyrus has stopped, those whom Exim has not asked about are accepted."""
    overquota.write_text(f"jane: {FULL}\n")
    callout = RECIPES["callout"]
    router = _both(VARIANTS["lsearch"].router, callout.variant.router, overquota.parent)
    variant = attrs.evolve(callout.variant, router=router, acl=None, condition=_in_the_readme())
    with Cyrus() as cyrus:
        there = recipes.install(cyrus, attrs.evolve(callout, options=None))
        cyrus.start()
        for user in ("jane", "bob", "late"):
            cyrus.create_user(user)
            cyrus.set_quota(cyrus.mailbox(user), storage_kib=10)
        cyrus.fill("late")
        with Daemon(overquota, variant, macros=there.macros) as daemon:
            names = ("jane", "bob", "late", "carl")
            assert _codes(daemon, *names) == [451, 250, 250, 550]
            cyrus.halt()
            assert _codes(daemon, *names) == [451, 250, 250, 550]
            assert _codes(daemon, "dora") == [250]
