"""The engine in memory answers as every engine must; names, limits and encodings."""

from __future__ import annotations

import sys
from typing import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cyrus.names import Recipient
from cyrusquota.engine import functions, protocol
from cyrusquota.engine.address import Address, EngineConfig
from cyrusquota.engine.redis import RedisEngine
from cyrusquota.errors import BadStore, EngineError, EngineMisfit, OptionError
from tests.engine_contract import EngineContract, Engines
from tests.simulated_engine import SimulatedEngine


class TestSimulatedEngine(EngineContract):
    @pytest.fixture
    def engines(self) -> Iterator[Engines]:
        one = SimulatedEngine()
        yield Engines(one, SimulatedEngine(one.server), SimulatedEngine(one.server))


# Names, limits and encodings


@pytest.mark.parametrize("name", ["a", "be1", "Store-1_x.y", "9", "x" * 64])
def test_names_of_stores(name: str) -> None:
    protocol.check_store_name(name)
    assert protocol.store_of(protocol.keys(name)[0].encode()) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "-a", "_a", "a b", "a/b", "a:b", "a}b", "a*", "x" * 65, "\u00e4", "a\n", "\x1b[0m"],
)
def test_odd_names_of_stores_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="expected a name of at most 64") as found:
        protocol.check_store_name(name)
    assert str(found.value).isprintable()
    assert protocol.store_of(f"cq:{{{name}}}:m".encode()) is None


@pytest.mark.parametrize(
    ("to", "key"),
    [
        (Recipient("jane", "example.org"), b"jane@example.org"),
        (Recipient("Jane", "Example.ORG"), b"jane@example.org"),
        (Recipient("jane"), b"jane@"),
    ],
)
def test_the_key_of_a_recipient(to: Recipient, key: bytes) -> None:
    assert protocol.key_of(to) == key
    assert protocol.key_of(protocol.recipient_of(key)) == key
    assert protocol.is_entry(key, b"over")


def test_the_name_of_a_publisher_is_one_that_a_status_can_have() -> None:
    for host in ("mail.example.org", "", "\u00e4.example", "x" * 200, "-a b:c"):
        name = protocol.holder_name(host, "0a1b")
        line = f"1 1 1 0 {'0' * 32} {name} -".encode()
        status = protocol.status(line, "be1")
        assert status is not None
        assert status.holder == name


LINES = st.dictionaries(
    st.from_regex(r"[a-z0-9.+-]{1,8}@[a-z.\u00fc]{0,8}", fullmatch=True).map(str.encode),
    st.sampled_from([b"over", b"near", b"free=0", b"free=123"]),
)


@given(put=LINES, drop=LINES)
def test_lines_are_read_back(put: dict[bytes, bytes], drop: dict[bytes, bytes]) -> None:
    found = protocol.change(protocol.lines(put, drop), "be1")
    assert (found.put, found.drop) == (put, tuple(drop))


@given(data=st.binary(max_size=60))
def test_any_bytes_are_lines_or_an_error(data: bytes) -> None:
    try:
        found = protocol.change(data, "be1")
    except BadStore:
        return
    assert sorted(protocol.lines(found.put, found.drop).splitlines()) <= sorted(data.splitlines())
    assert all(protocol.is_entry(key, value) for key, value in found.put.items())


@given(line=st.binary(max_size=80) | st.from_regex(rb"1( [0-9a-f:-]{1,33}){4,7}"))
def test_any_bytes_are_a_status_or_an_error(line: bytes) -> None:
    try:
        status = protocol.status(line, "be1")
    except (BadStore, EngineMisfit) as error:
        assert str(error).isprintable()
    else:
        assert (status is None) == (line == b"")


def test_the_digest_of_entries_is_that_of_their_lines_whatever_their_order() -> None:
    """By `printf 'jane@\\tover' | b2sum -l 128`, and the same for the other one."""
    one, other = {b"jane@": b"over"}, {b"joe@": b"near"}
    assert protocol.digest_text(protocol.digest(one)) == "bdf28d9edcd269291f8d58da38493ac9"
    assert protocol.digest_text(protocol.digest(other)) == "7e0991162ba50d407625de9523833a8c"
    assert protocol.digest({**one, **other}) == protocol.digest({**other, **one})
    assert (
        protocol.digest({**one, **other})
        == 0xBDF28D9EDCD269291F8D58DA38493AC9 ^ 0x7E0991162BA50D407625DE9523833A8C
    )
    assert protocol.digest({}) == 0


def test_without_its_module_the_engine_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(EngineError, match="apt-get install python3-redis") as found:
        RedisEngine(EngineConfig(Address.of("redis://localhost")))
    assert found.value.exit_status == 69


# The functions


def test_the_functions_agree_with_the_protocol() -> None:
    text = functions.text().decode()
    assert f"name={functions.LIBRARY}\n" in text.splitlines(keepends=True)[0]
    for name, value in (
        ("FORMAT", f"'{protocol.FORMAT}'"),
        ("MAX_KEY, MAX_VALUE", f"{protocol.MAX_KEY}, {protocol.MAX_VALUE}"),
        ("MAX_CHANGE, HISTORY", f"{protocol.MAX_CHANGE}, {protocol.HISTORY}"),
        ("REVISION", f"'{functions.revision()}'"),
    ):
        assert f"\nlocal {name} = {value}\n" in text
    assert protocol.HISTORY * protocol.BATCH >= protocol.LAPSE


def test_rights_name_one_store() -> None:
    assert functions.backend_rights("be1", "store1") == (
        "user be1 on >PASSWORD resetchannels ~cq:{store1}:* -@all +fcall_ro +hmget +hscan +xrange"
        " +fcall +hset +hdel +hlen +hexists +xadd +unlink"
    )
    with pytest.raises(OptionError):
        functions.backend_rights("be1", "*")
    assert "%R~cq:{*}:* -@all +fcall_ro" in functions.mirror_rights("mx")
