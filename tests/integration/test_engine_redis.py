"""Stores on a real server, with the rights that are documented for each side and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Optional

import pytest

from cyrusquota.engine import functions
from cyrusquota.engine.address import Address, EngineConfig
from cyrusquota.engine.redis import RedisEngine
from tests.engine_contract import STORE, EngineContract, Engines
from tests.integration.redis_server import Redis

PASSWORDS = {"be1": "secret-of-be1", "mx": "secret-of-mx", "admin": "secret-of-admin"}


def rights() -> list[str]:
    """Return the lines of an ACL file, as they are printed, with passwords."""
    lines = {
        "be1": functions.backend_rights("be1", STORE),
        "mx": functions.mirror_rights("mx"),
        "admin": functions.administrator_rights("admin"),
    }
    return [line.replace(">PASSWORD", f">{PASSWORDS[user]}") for user, line in lines.items()]


@pytest.fixture(scope="module")
def server(needs_redis: None) -> Iterator[Redis]:
    with Redis(acl=rights(), functions=functions.text()) as found:
        yield found


def config(url: str, user: str, directory: Path, password: Optional[str] = None) -> EngineConfig:
    path = directory / f"{user}.password"
    path.touch(0o600)
    path.write_text(f"{PASSWORDS[user] if password is None else password}\n")
    return EngineConfig(Address.of(url), user, str(path))


@pytest.fixture
def by_user(server: Redis, tmp_path: Path) -> Iterator[dict[str, RedisEngine]]:
    server.empty()
    found = {user: RedisEngine(config(server.url, user, tmp_path)) for user in PASSWORDS}
    yield found
    for engine in found.values():
        engine.close()


class TestRedis(EngineContract):
    @pytest.fixture
    def engines(self, by_user: dict[str, RedisEngine]) -> Iterator[Engines]:
        yield Engines(by_user["be1"], by_user["mx"], by_user["admin"])
