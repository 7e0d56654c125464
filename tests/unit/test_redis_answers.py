"""What servers say that are no engine, or are in trouble, and what people are told of it."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Iterator, Optional

import pytest

from cyrusquota.engine import redis
from cyrusquota.engine.address import Address, EngineConfig
from cyrusquota.engine.protocol import NO_STAMP, Stamp
from cyrusquota.engine.redis import RedisEngine
from cyrusquota.engine.redis_connection import Connection
from cyrusquota.errors import (
    BadStore,
    EngineError,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
    OptionError,
)
from tests.engine_contract import STORE, EngineContract, Engines
from tests.fake_redis import FakeRedis, Raw, Reply, always, error, served

DIGEST = b"0" * 32
STATUS = b"1 1 1 0 " + DIGEST + b" host:1 -"


class TestFakeRedis(EngineContract):
    """The stand-in for machines without Redis answers as every engine must."""

    @pytest.fixture
    def engines(self) -> Iterator[Engines]:
        with served(FakeRedis()) as port:
            found = [RedisEngine(config(port)) for _ in range(3)]
            yield Engines(*found)
            for engine in found:
                engine.close()


def config(port: int) -> EngineConfig:
    return EngineConfig(Address.of(f"redis://127.0.0.1:{port}"))


def asked(reply: Reply) -> EngineError:
    """Return the error that a server leads to that always gives this answer."""
    with served(always(reply)) as port:
        engine = RedisEngine(config(port))
        with pytest.raises(EngineError) as found:
            engine.status(STORE)
        engine.close()
    assert f"127.0.0.1:{port}" in str(found.value) or str(found.value).startswith("engine: ")
    assert "\n" not in str(found.value)
    return found.value


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        ("ERR Function not found", EngineMisfit, "redis-cli -x FUNCTION LOAD"),
        ("ERR unknown command 'FCALL_RO', with args", EngineMisfit, "Redis from 7.0"),
        ("MOVED 3999 127.0.0.1:6381", EngineMisfit, "Redis Cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", EngineMisfit, "Redis Cluster"),
        ("CLUSTERDOWN The cluster is down", EngineMisfit, "Redis Cluster"),
        ("NOAUTH Authentication required.", EngineForbidden, "password-file"),
        ("WRONGPASS invalid username-password pair", EngineForbidden, "ACL LIST"),
        ("NOPERM this user has no permissions to run the 'fcall'", EngineForbidden, "engine acl"),
        ("ERR The user executing the script can't run this command", EngineForbidden, "engine acl"),
        ("DENIED Redis is running in protected mode", EngineForbidden, "protected mode"),
        ("READONLY You can't write against a read only replica.", EngineUnreachable, "primary"),
        ("LOADING Redis is loading the dataset in memory", EngineUnreachable, "wait"),
        ("MASTERDOWN Link with MASTER is down", EngineUnreachable, "INFO replication"),
        ("NOREPLICAS Not enough good replicas to write.", EngineUnreachable, "INFO replication"),
        ("BUSY Redis is busy running a script.", EngineUnreachable, "FUNCTION KILL"),
        ("OOM command not allowed when used memory > 'maxmemory'.", EngineUnreachable, "maxmemory"),
        ("MISCONF Redis is configured to save RDB snapshots", EngineUnreachable, "disk"),
        ("ERR max number of clients reached", EngineUnreachable, "maxclients"),
        ("ERR something else", EngineUnreachable, "something else"),
    ],
)
def test_what_the_server_says_becomes_advice(
    said: str, kind: type[EngineError], advice: str
) -> None:
    found = asked(error(said))
    assert type(found) is kind
    assert advice in str(found)


@pytest.mark.parametrize(
    "reply", [Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", True), Raw(b"220 mail ESMTP\r\n", True)]
)
def test_a_server_that_is_no_redis(reply: Raw) -> None:
    found = asked(reply)
    assert type(found) is EngineMisfit
    assert "no Redis server" in str(found)


def test_a_server_that_closes_the_connection() -> None:
    found = asked(Raw(b"", True))
    assert type(found) is EngineUnreachable
    assert "rediss://" in str(found)


@pytest.mark.parametrize("reply", [b"OK", 1, None, [], [b"x"], [[]], [[1, 2]], [[b"", b"+"]] * 2])
def test_an_answer_of_other_functions(reply: Reply) -> None:
    found = asked(reply)
    assert type(found) is EngineMisfit
    assert "are not those of cyrusquota" in str(found)


def test_a_server_that_closes_each_connection_after_its_answer() -> None:
    reply = Raw(b"*1\r\n*2\r\n$0\r\n\r\n$1\r\n-\r\n", True)
    with served(always(reply)) as port:
        engine = RedisEngine(config(port))
        for _ in range(3):
            assert engine.status(STORE) is None
            # The end of the connection may take a moment.
            deadline = time.monotonic() + 10
            while not _connection(engine).is_broken():
                assert time.monotonic() < deadline
        engine.close()


def _connection(engine: RedisEngine) -> Connection:
    assert engine._connection is not None
    return engine._connection


def test_nobody_listens(tmp_path: Path) -> None:
    with served(always(None)) as port:
        pass
    with pytest.raises(EngineUnreachable, match=f"127.0.0.1:{port}: Connection refused; check"):
        RedisEngine(config(port)).status(STORE)
    absent = EngineConfig(Address.of(f"unix:{tmp_path}/socket"))
    with pytest.raises(EngineUnreachable, match="No such file or directory; check the URL"):
        RedisEngine(absent).status(STORE)


def test_a_name_without_an_address() -> None:
    nowhere = EngineConfig(Address.of("redis://nowhere.invalid"), plaintext_over_network=True)
    with pytest.raises(EngineUnreachable, match="no address is known"):
        RedisEngine(nowhere).status(STORE)


# What a store says of itself, and its entries


@pytest.mark.parametrize(
    "line",
    [
        b"damaged",
        b"damaged 1 x 1 0",
        b"1",
        b"1 1 1 0",
        b"1 -1 1 0 " + DIGEST + b" host:1 -",
        b"1 1 9999999999999999 0 " + DIGEST + b" host:1 -",
        b"1 1 1 x " + DIGEST + b" host:1 -",
        b"1 1 1 500001 " + DIGEST + b" host:1 -",
        b"1 1 1 0 " + b"0" * 31 + b"g host:1 -",
        b"1 1 1 0 " + DIGEST + b" ho\x1b[31mst -",
        b"1 1 1 0 " + DIGEST + b" host:1 many",
        STATUS + b" more",
        STATUS + b"\n",
        b"\xff\xfe",
        b"x" * 10_000,
    ],
)
def test_a_damaged_status(line: bytes) -> None:
    with served(always([[line, b"-"]])) as port:
        engine = RedisEngine(config(port))
        with pytest.raises(BadStore, match=f"store {STORE}: expected format, gen, seq") as found:
            engine.status(STORE)
        news = engine.poll({STORE: NO_STAMP})[STORE]
        engine.close()
    assert str(news.error) == str(found.value)
    assert str(found.value).isprintable()


def test_another_format() -> None:
    with served(always([[b"2", b"-"]])) as port:
        engine = RedisEngine(config(port))
        with pytest.raises(EngineMisfit, match=f"store {STORE}: is in format 2, and .* upgrade"):
            engine.status(STORE)
        assert isinstance(engine.poll({STORE: NO_STAMP})[STORE].error, EngineMisfit)
        engine.close()


GARBAGE = [
    b"jane@example.org\tover",
    b"jane@example.org\tfull\n",
    b"jane\tover\n",
    b"Jane@example.org\tover\n",
    b"jane@Example.org\tover\n",
    b"jane@example.org\tover\n\n",
    b"jane@example.org \tover\n",
    b"jane@a@b\tover\n",
    b"@example.org\tover\n",
    b"jane@example.org\tfree=-1\n",
    b"jane@example.org\tfree=01\n",
    b"jane@example.org\t:fail: go away\n",
    b"jane@example.org\tover\tnear\n",
    b"j\x00e@example.org\tover\n",
    b'"jane"@example.org\tover\n',
    b"jane@ex\xffample.org\tover\n",
    "jane@ex\u2028ample.org\tover\n".encode(),
    b"x" * 600 + b"@example.org\tover\n",
    b"\r\n",
]


@pytest.mark.parametrize("lines", GARBAGE)
def test_bad_entries(lines: bytes) -> None:
    def answers(words: list[bytes]) -> Reply:
        return [STATUS, b"0", lines] if words[1] == b"cq1_read" else [[STATUS, b"+", lines]]

    with served(answers) as port:
        engine = RedisEngine(config(port))
        with pytest.raises(BadStore, match=f"store {STORE}: expected an address and over, near"):
            engine.read(STORE)
        assert isinstance(engine.poll({STORE: Stamp(1, 0)})[STORE].error, BadStore)
        engine.close()


def test_entries_that_the_functions_do_not_send() -> None:
    """They are too long; nothing of them gets here."""
    replies: Iterator[Reply] = iter([[[STATUS, b"-"]], [STATUS]])
    with served(lambda words: next(replies)) as port:
        engine = RedisEngine(config(port))
        with pytest.raises(BadStore, match="longer than any address"):
            engine.read(STORE)
        engine.close()


def test_an_answer_of_a_hundred_megabytes_is_not_kept() -> None:
    chunk = b"$%d\r\n" % (100 << 20) + b"x" * (1 << 20)
    with served(always(Raw(chunk, times=100))) as port:
        engine = RedisEngine(config(port))
        tracemalloc.start()
        try:
            with pytest.raises(EngineMisfit, match="sends more than 16 MiB at once"):
                engine.status(STORE)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 50 << 20


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "ANSWER", 0.3)
    with served(always(Raw(b"$1000\r\nx"))) as port:
        engine = RedisEngine(config(port))
        with pytest.raises(EngineUnreachable, match="does not answer in time"):
            engine.status(STORE)
        engine.close()


# URLs and secrets


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://127.0.0.1", ["127.0.0.1:6379"]),
        ("rediss://redis.example.org:6380", ["redis.example.org:6380"]),
        ("redis://[::1]:7000/0", ["[::1]:7000"]),
        (
            "redis+sentinel://a,b:5,[2001:db8::1]/mymaster",
            ["a:26379", "b:5", "[2001:db8::1]:26379"],
        ),
        ("rediss+sentinel://a/my.master-1", ["a:26379"]),
    ],
)
def test_urls(url: str, hosts: list[str]) -> None:
    found = Address.of(url)
    assert [str(host) for host in found.hosts] == hosts
    assert found.tls == url.startswith("rediss")
    assert found.url == url


@pytest.mark.parametrize("url", ["unix:/run/redis.sock", "unix:///run/redis.sock"])
def test_sockets(url: str) -> None:
    assert Address.of(url).socket == "/run/redis.sock"
    assert Address.of(url).url == "unix:/run/redis.sock"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "postgresql://localhost/mail",
        "redis:localhost",
        "redis://",
        "redis://a,b",
        "redis://a/x",
        "redis://a/1",
        "redis://a/1?x=1",
        "redis://a:0",
        "redis://a:99999",
        "redis://a b",
        "redis+sentinel://a,b",
        "redis+sentinel://a,,b/m",
        "unix:",
        "unix:relative",
        "unix://relative",
    ],
)
def test_a_url_that_cannot_be_followed(url: str) -> None:
    with pytest.raises(OptionError, match="expected"):
        Address.of(url)


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(OptionError) as found:
        Address.of("redis://jane:hunter2@localhost")
    assert "hunter2" not in str(found.value)
    assert "password-file" in str(found.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "redis.example.org", "[2001:db8::1]"])
def test_without_tls_nothing_is_sent_to_another_host(host: str) -> None:
    engine = RedisEngine(EngineConfig(Address.of(f"redis://{host}")))
    with pytest.raises(EngineForbidden, match=r"without TLS .* use rediss://"):
        engine.status(STORE)


def test_a_primary_on_another_host_is_not_spoken_to_either() -> None:
    with served(always([b"192.0.2.1", b"6379"])) as port:
        address = Address.of(f"redis+sentinel://127.0.0.1:{port}/m")
        with pytest.raises(EngineForbidden, match=r"192.0.2.1:6379: is not on this host"):
            RedisEngine(EngineConfig(address)).status(STORE)


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (None, EngineMisfit, "knows no primary called m"),
        ([b"no address", b"6379"], EngineMisfit, "names no address as the primary"),
        ([b"127.0.0.1", b"x"], EngineMisfit, "as the primary"),
        (error("NOAUTH Authentication required."), EngineForbidden, "password"),
        (b"OK", EngineMisfit, "are not those of cyrusquota"),
    ],
)
def test_a_sentinel_that_does_not_help(reply: Reply, kind: type[EngineError], reason: str) -> None:
    with served(always(reply)) as port:
        address = Address.of(f"redis+sentinel://127.0.0.1:{port},127.0.0.1:1/m")
        with pytest.raises(kind, match=reason):
            RedisEngine(EngineConfig(address)).status(STORE)


def test_sentinels_have_credentials_of_their_own(tmp_path: Path) -> None:
    given: list[tuple[str, bytes]] = []

    def redis_answers(words: list[bytes]) -> Reply:
        given.append(("redis", b" ".join(words[:3])))
        return b"OK" if words[0] == b"AUTH" else [[b"", b"-"]]

    def sentinel_answers(words: list[bytes]) -> Reply:
        given.append(("sentinel", b" ".join(words)))
        return b"OK" if words[0] == b"AUTH" else [b"127.0.0.1", b"%d" % port]

    for name in ("one", "two"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(f"secret {name}\n")
    with served(redis_answers) as port, served(sentinel_answers) as sentinel:
        address = Address.of(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel}/m")
        engine = RedisEngine(
            EngineConfig(
                address,
                "be1",
                str(tmp_path / "one"),
                sentinel_user="watcher",
                sentinel_password_file=str(tmp_path / "two"),
            )
        )
        assert engine.status(STORE) is None
        engine.close()
    assert given == [
        ("sentinel", b"AUTH watcher secret two"),
        ("sentinel", b"SENTINEL GET-MASTER-ADDR-BY-NAME m"),
        ("redis", b"AUTH be1 secret one"),
        ("redis", b"FCALL_RO cq1_poll 2"),
    ]


def test_a_server_that_is_the_primary_no_more_is_left_though_it_answers() -> None:
    """As one does that a partition has cut off together with its mirror."""
    now, named = [0.0], [0]
    with served(FakeRedis()) as old, served(FakeRedis()) as new:
        ports = [old, new]
        RedisEngine(config(new)).begin(STORE, NO_STAMP, 0, "host:1", {}, 0)
        sentinel_answers = lambda words: [b"127.0.0.1", b"%d" % ports[named[0]]]  # noqa: E731
        with served(sentinel_answers) as sentinel:
            address = Address.of(f"redis+sentinel://127.0.0.1:{sentinel}/m")
            engine = RedisEngine(EngineConfig(address), clock=lambda: now[0])
            assert engine.status(STORE) is None
            named[0] = 1
            assert engine.status(STORE) is None
            now[0] += redis.RECHECK
            assert engine.status(STORE) is not None
        # Without an answer of a Sentinel there is no reason to leave it.
        now[0] += redis.RECHECK
        assert engine.status(STORE) is not None
        engine.close()


def test_a_password_is_read_at_each_connection(tmp_path: Path) -> None:
    given: list[bytes] = []

    def answers(words: list[bytes]) -> Reply:
        if words[0] == b"AUTH":
            given.append(b" ".join(words[1:]))
        return b"OK" if words[0] == b"AUTH" else [[b"", b"-"]]

    path = tmp_path / "password"
    path.touch(0o600)
    path.write_text("first\n")
    with served(answers) as port:
        address = Address.of(f"redis://127.0.0.1:{port}")
        engine = RedisEngine(EngineConfig(address, "be1", str(path)))
        engine.status(STORE)
        engine.status(STORE)
        path.write_text("second one\n")
        engine.close()
        engine.status(STORE)
        engine.close()
    assert given == [b"be1 first", b"be1 second one"]


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"secret\n", 0o644, "is open to all users"),
        (b"secret\n", 0o602, "is open to all users"),
        (b"", 0o600, "expected a password on a single line"),
        (b"\n", 0o600, "expected a password on a single line"),
        (b"a\nb\n", 0o600, "expected a password on a single line"),
        (b"x" * 5000, 0o640, "expected a password on a single line"),
        (None, 0, "cannot be read: No such file or directory"),
    ],
)
def test_a_password_file_that_is_not_used(
    tmp_path: Path, content: Optional[bytes], mode: int, reason: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    config = EngineConfig(Address.of("redis://127.0.0.1:1"), "be1", str(path))
    with pytest.raises(EngineForbidden, match=reason) as found:
        RedisEngine(config).status(STORE)
    assert "secret" not in str(found.value).replace(str(path), "")


def test_files_of_certificates_have_to_be_there(tmp_path: Path) -> None:
    config = EngineConfig(Address.of("rediss://127.0.0.1:1"), ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(EngineForbidden, match=r"ca.pem: cannot be read"):
        RedisEngine(config).status(STORE)
