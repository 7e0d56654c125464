"""The rows of the fault matrix about passwords, rights and certificates.

What the administrator repairs is taken up without a restart.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Callable, Iterator

import pytest

from cyrusquota.engine import functions

from .certificates import Authority, Certificate
from .fault_site import FULL, STORES, Row, Site, site
from .redis_server import Redis, Tls

pytestmark = pytest.mark.integration

ENGINE = "127.0.0.2"
MIRROR = "mirror"


def rights(password: str, change: Callable[[str], str] = str) -> list[str]:
    """The lines of the ACL for a user of each store and one of the mirrors."""
    lines = [functions.backend_rights(store, store) for store in STORES]
    lines.append(functions.mirror_rights(MIRROR))
    return [change(line).replace("PASSWORD", password) for line in lines]


def logins(directory: Path, password: str) -> dict[str, dict[str, str]]:
    """The settings by which each host logs in, with a password file of its own."""
    found = {}
    for user in (*STORES, MIRROR):
        file = directory / user
        file.write_text(f"{password}\n")
        file.chmod(0o600)
        found[user] = {"user": user, "password-file": str(file)}
    return found


@contextlib.contextmanager
def restricted(directory: Path, password: str) -> Iterator[tuple[Redis, Site]]:
    """An engine that lets the hosts in with a password, and the hosts."""
    with (
        Redis(host=ENGINE, acl=rights(password), functions=functions.text()) as engine,
        site(engine.url, settings=logins(directory, password)) as hosts,
    ):
        yield engine, hosts


def test_wrong_password(faults: list[Row], tmp_path: Path) -> None:
    """The server's passwords change; the files follow later."""
    with restricted(tmp_path, "first") as (engine, hosts):
        faults.append(
            hosts.row(
                "password of all hosts wrong",
                lambda: engine.reload_users(rights("second")),
                lambda: logins(tmp_path, "second"),
                accepted=FULL,
            )
        )


def no_xadd(line: str) -> str:
    return line.replace(" +xadd", "") if f"{{{STORES[0]}}}" in line else line


def no_fcall(line: str) -> str:
    return line.replace(" +fcall_ro", "") if line.startswith(f"user {MIRROR} ") else line


@pytest.mark.parametrize(
    ("who", "accepted", "narrowed"),
    [
        (f"the publisher of {STORES[0]} may not XADD", FULL[:1], no_xadd),
        ("the mirror may not FCALL_RO", FULL, no_fcall),
    ],
)
def test_rights_too_narrow(
    faults: list[Row],
    tmp_path: Path,
    who: str,
    accepted: tuple[str, ...],
    narrowed: Callable[[str], str],
) -> None:
    with restricted(tmp_path, "secret") as (engine, hosts):
        faults.append(
            hosts.row(
                who,
                lambda: engine.reload_users(rights("secret", narrowed)),
                lambda: engine.reload_users(rights("secret")),
                accepted=accepted,
            )
        )


@pytest.mark.parametrize("wrong", ["of another authority", "that has expired"])
def test_wrong_certificate(
    faults: list[Row], needs_openssl: None, tmp_path: Path, wrong: str
) -> None:
    own, other = Authority(tmp_path / "own"), Authority(tmp_path / "other")
    client, good = own.issue("client"), own.issue("server", hosts=(ENGINE,))
    bad = {
        "of another authority": lambda: other.issue("server", hosts=(ENGINE,)),
        "that has expired": lambda: own.issue("expired", hosts=(ENGINE,), days=-1),
    }[wrong]()
    tls = {"ca-file": str(own.ca), "cert-file": str(client.cert), "key-file": str(client.key)}
    settings = dict.fromkeys((*STORES, MIRROR), tls)

    def restart_with(certificate: Certificate) -> None:
        engine.kill()
        engine.tls = Tls(own, certificate, asks_clients=True)
        engine.start()

    engine = Redis(host=ENGINE, tls=Tls(own, good, asks_clients=True), functions=functions.text())
    with engine, site(engine.url, settings=settings) as hosts:
        fault = f"server with a certificate {wrong}"
        faults.append(
            hosts.row(
                fault,
                lambda: restart_with(bad),
                lambda: restart_with(good),
                accepted=FULL,
            )
        )
