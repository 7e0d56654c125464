"""Stores on a real server, with the rights that are documented for each side and no others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, Iterator, Optional, TypeVar

import attrs
import pytest

from cyrusquota.engine import functions
from cyrusquota.engine.address import Address, EngineConfig
from cyrusquota.engine.protocol import NO_STAMP, Stamp, digest
from cyrusquota.engine.redis import RedisEngine
from cyrusquota.errors import (
    BadStore,
    EngineError,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
)
from tests.engine_contract import SMALL, STORE, EngineContract, Engines, status
from tests.integration.certificates import Authority
from tests.integration.processes import until
from tests.integration.redis_server import PATIENCE, Redis, Replicated, Tls
from tests.integration.smtp import free_ports

pytestmark = pytest.mark.integration

Result = TypeVar("Result")
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


# Rights


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "CONFIG GET *",
        "EVAL return 0",
        "FUNCTION LIST",
        "KEYS *",
        "SCAN 0",
        "DEL cq:{be1}:m",
        "HSET cq:{be2}:m gen 9",
        "HDEL cq:{be2}:e jane@",
        "UNLINK cq:{be2}:m",
        "XADD cq:{be2}:s * c x",
        "HMGET cq:{be2}:m gen",
        "HSET cq:{be10}:m gen 9",
        "HSET other x y",
        "FCALL cq1_forget 3 cq:{be2}:m cq:{be2}:e cq:{be2}:s 1 1",
        "FCALL cq1_forget 3 cq:{be1}:m cq:{be2}:e cq:{be1}:s 1 1",
        "FCALL_RO cq1_poll 2 cq:{be2}:m cq:{be2}:s 0 0",
        "ACL WHOAMI",
        "SHUTDOWN NOSAVE",
        "SUBSCRIBE x",
    ],
)
def test_a_backend_may_not(server: Redis, command: str) -> None:
    _is_refused(server, "be1", command)


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "CONFIG GET *",
        "EVAL return 0",
        "KEYS *",
        "HSET cq:{be1}:m gen 9",
        "HDEL cq:{be1}:e jane@",
        "UNLINK cq:{be1}:m",
        "HMGET other x",
        "FCALL cq1_accept 1 cq:{be1}:m 1",
        "FCALL cq1_poll 2 cq:{be1}:m cq:{be1}:s 0 0",
        "FCALL cq1_begin 3 cq:{be1}:m cq:{be1}:e cq:{be1}:s 0 0 0 x 0 x x",
    ],
)
def test_a_mirror_may_not(server: Redis, command: str) -> None:
    _is_refused(server, "mx", command)


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "CONFIG GET *", "EVAL return 0", "KEYS *", "HSET other x y", "ACL LIST"]
)
def test_an_administrator_of_stores_may_not(server: Redis, command: str) -> None:
    _is_refused(server, "admin", command)


def _is_refused(server: Redis, user: str, command: str) -> None:
    words = command.split(" ") + (["0"] if command.startswith("EVAL") else [])
    if command.startswith("EVAL"):
        words = ["EVAL", "return 0", "0"]
    done = server.attempt(*words, user=user, password=PASSWORDS[user])
    assert b"NOPERM" in done.stdout + done.stderr, done


@pytest.mark.parametrize("right", ["xadd", "hset", "hdel", "unlink", "hexists", "hlen"])
def test_a_publisher_with_too_few_rights_writes_nothing(
    server: Redis, by_user: dict[str, RedisEngine], right: str
) -> None:
    """Otherwise half of a write would stay."""
    backend = by_user["be1"]
    backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    server.run("ACL", "SETUSER", "be1", f"-{right}")
    calls: list[Callable[[], object]] = [
        lambda: backend.begin(STORE, Stamp(1, 1), 0, "backend:0a1b", {}, 0),
        lambda: backend.write(STORE, Stamp(1, 1), {b"new@": b"over"}, (), 4, 0),
    ]
    try:
        for call in calls:
            with pytest.raises(EngineForbidden, match="engine acl"):
                call()
    finally:
        server.run("ACL", "SETUSER", "be1", f"+{right}")
    content = by_user["mx"].read(STORE)
    assert content is not None
    assert (content.status, content.entries) == (status(Stamp(1, 1), SMALL), SMALL)


def test_a_mirror_cannot_write_through_functions_that_read(server: Redis) -> None:
    words = ["FCALL_RO", "cq1_accept", "1", "cq:{be1}:m", "1"]
    done = server.attempt(*words, user="mx", password=PASSWORDS["mx"])
    assert b"write flag" in done.stdout + done.stderr


def test_another_store_is_refused_with_advice(by_user: dict[str, RedisEngine]) -> None:
    with pytest.raises(EngineForbidden, match="engine acl"):
        by_user["be1"].begin("be2", NO_STAMP, 0, "host:1", SMALL, digest(SMALL))
    with pytest.raises(EngineForbidden, match="engine acl"):
        by_user["mx"].begin(STORE, NO_STAMP, 0, "host:1", SMALL, digest(SMALL))
    assert by_user["be1"].status(STORE) is None


# What somebody else has written


@attrs.frozen
class Damage:
    """A command, and what it does to a store with a snapshot and a beat."""

    command: str
    error: Optional[type[EngineError]] = None
    #: Whether the publisher can still write at its stamp.
    can_write: bool = False

    def do(self, server: Redis) -> None:
        for words in self.command.split("; "):
            command, key, *rest = words.split(" ")
            server.run(command, f"cq:{{{STORE}}}:{key}", *rest)


@pytest.mark.parametrize(
    "damage",
    [
        Damage("HSET m gen x", BadStore),
        Damage("HSET m seq -1", BadStore),
        Damage("HSET m gen 1e3", BadStore),
        Damage("HSET m gen 1234567890123456", BadStore),
        Damage("HDEL m gen", BadStore),
        Damage("HDEL m format", BadStore),
        Damage("HSET m format x", BadStore),
        Damage("DEL m; SET m x", BadStore),
        Damage("DEL e; SET e x"),
        Damage("DEL e; RPUSH e x"),
        Damage("HSET e x over"),
        Damage("DEL e"),
        Damage("DEL s; SET s x"),
        Damage("XADD s 999-1 c x"),
        Damage("XTRIM s MAXLEN 0", None, True),
        Damage("DEL s", None, True),
        Damage("HSET m n x", BadStore, True),
        Damage("HSET m digest x", BadStore, True),
    ],
    ids=lambda damage: damage.command,
)
def test_damage_is_noticed_and_a_snapshot_repairs_it(
    server: Redis, by_user: dict[str, RedisEngine], damage: Damage
) -> None:
    backend, mirror = by_user["be1"], by_user["mx"]
    backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    backend.write(STORE, Stamp(1, 1), {}, (), len(SMALL), digest(SMALL))
    damage.do(server)
    expected = Stamp(1, 2)
    if damage.error is None:
        assert mirror.status(STORE) == status(expected, SMALL)
        assert mirror.poll({STORE: Stamp(1, 1)})[STORE].error is None
    else:
        with pytest.raises(damage.error):
            mirror.status(STORE)
        assert isinstance(mirror.poll({STORE: Stamp(1, 1)})[STORE].error, damage.error)
    beaten = backend.write(STORE, Stamp(1, 2), {}, (), len(SMALL), digest(SMALL))
    assert beaten.accepted == damage.can_write
    if not damage.can_write:
        found = NO_STAMP if damage.error else expected
        assert backend.begin(STORE, found, 1, "backend:0a1b", SMALL, digest(SMALL)).accepted
    content = mirror.read(STORE)
    assert content is not None
    assert (content.entries, content.problem(STORE)) == (SMALL, None)


def test_nobody_touches_a_store_of_another_format(
    server: Redis, by_user: dict[str, RedisEngine]
) -> None:
    backend, admin = by_user["be1"], by_user["admin"]
    backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    server.run("HSET", "cq:{be1}:m", "format", "2")
    before = server.run("HGETALL", "cq:{be1}:m")
    calls: list[Callable[[], object]] = [
        lambda: backend.status(STORE),
        lambda: backend.begin(STORE, Stamp(1, 1), 0, "backend:0a1b", {}, 0),
        lambda: backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", {}, 0),
        lambda: backend.write(STORE, Stamp(1, 1), {}, (), 3, 0),
        lambda: admin.accept(STORE, 1),
        lambda: admin.forget(STORE, Stamp(1, 1)),
    ]
    for call in calls:
        with pytest.raises(EngineMisfit, match="in format 2"):
            call()
    assert server.run("HGETALL", "cq:{be1}:m") == before


@pytest.mark.parametrize("field", ["jane@example.org", "x" * 2000 + "@"])
def test_a_value_of_a_hundred_megabytes_stays_in_the_server(
    server: Redis, by_user: dict[str, RedisEngine], field: str
) -> None:
    by_user["be1"].begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    server.run("-x", "HSET", "cq:{be1}:e", field, stdin=b"x" * (100 << 20))
    with pytest.raises(BadStore, match="longer than any address"):
        patiently(lambda: by_user["mx"].read(STORE))
    server.run("-x", "HSET", "cq:{be1}:m", "holder", stdin=b"x" * (100 << 20))
    news = patiently(lambda: by_user["mx"].poll({STORE: NO_STAMP}))
    assert isinstance(news[STORE].error, BadStore)


def patiently(call: Callable[[], Result]) -> Result:
    """Return what a call returns that may come too late at first."""
    deadline = time.monotonic() + 4 * PATIENCE
    while True:
        try:
            return call()
        except EngineUnreachable:
            assert time.monotonic() < deadline


def test_a_change_of_a_hundred_megabytes_stays_in_the_server(
    server: Redis, by_user: dict[str, RedisEngine]
) -> None:
    by_user["be1"].begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    server.run("-x", "XADD", "cq:{be1}:s", "1-2", "c", stdin=b"x" * (100 << 20))
    server.run("HSET", "cq:{be1}:m", "seq", "2")
    news = patiently(lambda: by_user["mx"].poll({STORE: Stamp(1, 1)}))[STORE]
    assert (news.error, news.changes) == (None, None)


def test_other_keys_are_no_stores(server: Redis, by_user: dict[str, RedisEngine]) -> None:
    by_user["be1"].begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    for key in ("cq:{}:m", "cq:{a b}:m", "cq:{../x}:m", "cq:{" + "x" * 65 + "}:m", "cq:{\n}:m"):
        server.run("SET", key, "x")
    assert by_user["mx"].stores() == [STORE]


# Servers in trouble


def test_without_the_functions(needs_redis: None, tmp_path: Path) -> None:
    with Redis(acl=rights()) as server:
        engine = RedisEngine(config(server.url, "mx", tmp_path))
        with pytest.raises(EngineMisfit, match="FUNCTION LOAD REPLACE"):
            engine.status(STORE)
        server.load(functions.text())
        assert engine.status(STORE) is None
        assert engine.revision() == functions.revision()
        engine.close()


def test_a_wrong_password_and_its_correction(server: Redis, tmp_path: Path) -> None:
    engine = RedisEngine(config(server.url, "mx", tmp_path, "wrong"))
    for _ in range(2):
        with pytest.raises(EngineForbidden, match="user or the password is wrong") as found:
            engine.stores()
        assert "wrong" not in str(found.value).replace("password is wrong", "")
    config(server.url, "mx", tmp_path)
    assert engine.stores() is not None
    engine.close()


def test_without_a_password(server: Redis) -> None:
    engine = RedisEngine(EngineConfig(Address.of(server.url)))
    with pytest.raises(EngineForbidden, match="name user and password-file"):
        engine.status(STORE)


def test_over_a_socket(server: Redis, tmp_path: Path) -> None:
    engine = RedisEngine(config(server.socket_url, "mx", tmp_path))
    assert engine.stores() is not None
    engine.close()


def test_a_full_memory_is_said_and_nothing_is_half_written(
    server: Redis, by_user: dict[str, RedisEngine]
) -> None:
    backend = by_user["be1"]
    backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    server.run("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(EngineUnreachable, match="raise maxmemory"):
            backend.write(STORE, Stamp(1, 1), {b"new@": b"over"}, (), 4, 0)
    finally:
        server.run("CONFIG", "SET", "maxmemory", "0")
    content = by_user["mx"].read(STORE)
    assert content is not None
    assert (content.status.stamp, content.entries) == (Stamp(1, 1), SMALL)


def test_a_replica_can_be_read_and_not_written_to(server: Redis, tmp_path: Path) -> None:
    with Redis(acl=rights(), replica_of=server) as replica:
        until(lambda: replica.in_step_with(server), "the replica has everything")
        mirror = RedisEngine(config(replica.url, "mx", tmp_path))
        assert mirror.status(STORE) is not None
        backend = RedisEngine(config(replica.url, "be1", tmp_path))
        with pytest.raises(EngineUnreachable, match="is a replica"):
            backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
        mirror.close()
        backend.close()


def test_a_server_that_does_not_answer(server: Redis, by_user: dict[str, RedisEngine]) -> None:
    by_user["mx"].status(STORE)
    with server.frozen():
        for _ in range(2):
            with pytest.raises(EngineUnreachable, match="does not answer in time"):
                by_user["mx"].status(STORE)
    by_user["mx"].status(STORE)


def test_a_connection_that_the_server_has_closed_is_opened_again(
    server: Redis, by_user: dict[str, RedisEngine]
) -> None:
    """Before anything is sent, so that nothing has an uncertain fate."""
    backend = by_user["be1"]
    backend.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
    for number in (1, 2):
        assert server.run("CLIENT", "KILL", "USER", "be1") == "1"
        assert backend.write(STORE, Stamp(1, number), {}, (), 3, digest(SMALL)).accepted


def test_a_cluster(needs_redis: None, tmp_path: Path) -> None:
    options = {"cluster-enabled": "yes", "cluster-port": str(free_ports(1)[0])}
    with Redis(acl=rights(), options=options) as server:
        server.load(functions.text())
        engine = RedisEngine(config(server.url, "be1", tmp_path))
        with pytest.raises(EngineMisfit, match="Redis Cluster"):
            engine.begin(STORE, NO_STAMP, 0, "backend:0a1b", SMALL, digest(SMALL))
        engine.close()


# TLS


@pytest.fixture(scope="module")
def authority(needs_openssl: None, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


def test_tls(needs_redis: None, authority: Authority, tmp_path: Path) -> None:
    tls = Tls(authority, authority.issue("server"), asks_clients=True)
    client, other = authority.issue("client"), Authority(tmp_path / "other")
    with Redis(acl=rights(), functions=functions.text(), tls=tls) as server:
        base = config(server.url, "mx", tmp_path)
        good = attrs.evolve(
            base, ca_file=str(authority.ca), cert_file=str(client.cert), key_file=str(client.key)
        )
        engine = RedisEngine(good)
        assert engine.status(STORE) is None
        engine.close()
        foreign = other.issue("client")
        # The server may close the connection before its reason gets here.
        for cert, key in ((None, None), (str(foreign.cert), str(foreign.key))):
            refused = attrs.evolve(good, cert_file=cert, key_file=key)
            with pytest.raises(EngineError, match=r"check .*cert-file and key-file"):
                RedisEngine(refused).status(STORE)
        for changed, reason in (
            ({"key_file": str(foreign.key)}, "TLS fails"),
            ({"ca_file": None}, "certificate is not accepted"),
            ({"ca_file": str(other.ca)}, "certificate is not accepted"),
            ({"ca_file": base.password_file}, "TLS fails"),
        ):
            _is_forbidden(attrs.evolve(good, **changed), reason)
        # localhost is another name than the certificate's.
        renamed = Address.of(server.url.replace("127.0.0.1", "localhost"))
        _is_forbidden(attrs.evolve(good, address=renamed), "not accepted: .*ostname mismatch")
        plain = attrs.evolve(base, address=Address.of(f"redis://127.0.0.1:{server.port}"))
        with pytest.raises(EngineUnreachable, match="rediss://"):
            RedisEngine(plain).status(STORE)


def test_an_expired_certificate(needs_redis: None, authority: Authority, tmp_path: Path) -> None:
    tls = Tls(authority, authority.issue("expired", days=-1))
    with Redis(acl=rights(), tls=tls) as server:
        base = config(server.url, "mx", tmp_path)
        _is_forbidden(attrs.evolve(base, ca_file=str(authority.ca)), "certificate has expired")


def test_a_server_without_tls(server: Redis, tmp_path: Path) -> None:
    base = config(f"rediss://127.0.0.1:{server.port}", "mx", tmp_path)
    with pytest.raises((EngineMisfit, EngineUnreachable)) as found:
        RedisEngine(base).status(STORE)
    assert "TLS" in str(found.value)


def _is_forbidden(config: EngineConfig, reason: str) -> None:
    with pytest.raises(EngineForbidden, match=reason):
        RedisEngine(config).status(STORE)


# Sentinels


def test_the_primary_that_sentinels_name(needs_redis: None, tmp_path: Path) -> None:
    with Replicated(acl=rights(), functions=functions.text()) as replicated:
        backend = RedisEngine(config(replicated.url, "be1", tmp_path))
        assert backend.begin(STORE, NO_STAMP, 0, "h:1", SMALL, digest(SMALL)).accepted
        before = replicated.primary()
        others = [one for one in replicated.servers if one is not before]
        until(lambda: all(one.in_step_with(before) for one in others), "replicas have everything")
        replicated.sentinels[0].kill()
        before.freeze()

        def beats() -> bool:
            try:
                found = backend.status(STORE)
                assert found is not None
                return backend.write(STORE, found.stamp, {}, (), 3, digest(SMALL)).accepted
            except EngineError as error:
                assert isinstance(error, EngineUnreachable), error
                return False

        assert not beats()
        until(beats, "the new primary takes a beat")
        assert backend.status(STORE) is not None
        before.thaw()
        unknown = Address.of(replicated.url.rpartition("/")[0] + "/other")
        with pytest.raises(EngineMisfit, match="no primary called other"):
            RedisEngine(
                attrs.evolve(config(replicated.url, "be1", tmp_path), address=unknown)
            ).stores()
        backend.close()
