"""The private Redis servers themselves, so that a failure elsewhere is not theirs."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from . import network
from .certificates import Authority
from .redis_server import Redis, Replicated, Tls, program
from .smtp import HOST

pytestmark = pytest.mark.integration

LIBRARY = b"#!lua name=one\nredis.register_function('one', function() return 1 end)\n"


def test_a_killed_server_comes_back_empty_with_its_functions(needs_redis: None) -> None:
    with Redis(functions=LIBRARY) as server:
        server.run("SET", "a", "b")
        server.kill()
        server.start()
        assert server.keys() == []
        assert server.run("FCALL", "one", "0") == "1"


def test_users_can_do_what_their_acl_says(needs_redis: None) -> None:
    with Redis(acl=["user be1 on >secret ~be1:* +set"]) as server:
        assert server.attempt("SET", "be1:x", "1", user="be1", password="secret").returncode == 0
        refused = server.attempt("SET", "be2:x", "1", user="be1", password="secret")
        assert b"NOPERM" in refused.stdout + refused.stderr
        # The default user is off.
        with socket.create_connection((HOST, server.port), 5) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(100).startswith(b"-NOAUTH")


def test_a_frozen_server_accepts_and_says_nothing(needs_redis: None) -> None:
    with Redis() as server:
        with server.frozen(), socket.create_connection((HOST, server.port), 5) as client:
            client.settimeout(0.2)
            client.sendall(b"PING\r\n")
            with pytest.raises(socket.timeout):
                client.recv(100)
        assert server.run("PING") == "PONG"


def test_tls_needs_the_authority_and_a_client_certificate(
    needs_redis: None, needs_openssl: None, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path / "own"), Authority(tmp_path / "other")
    client = authority.issue("client")
    tls = Tls(authority, authority.issue("server"), asks_clients=True)

    def ping(*words: str) -> bytes:
        command = [str(program("cli")), "-h", HOST, "-p", str(server.port), "--tls", *words, "PING"]
        return subprocess.run(command, capture_output=True, timeout=30).stdout.strip()

    with Redis(tls=tls) as server:
        own = ("--cert", str(client.cert), "--key", str(client.key))
        assert ping("--cacert", str(authority.ca), *own) == b"PONG"
        assert ping("--cacert", str(other.ca), *own) != b"PONG"
        assert ping("--cacert", str(authority.ca)) != b"PONG"


def test_sentinels_promote_a_replica_of_a_dead_primary(needs_redis: None) -> None:
    with Replicated(functions=LIBRARY) as cluster:
        first = cluster.primary()
        first.run("SET", "a", "b")
        assert first.run("WAIT", "2", "5000") == "2"
        first.kill()
        second = cluster.wait_for_failover(first)
        assert second is not first
        assert second.run("GET", "a") == "b"
        assert second.run("FCALL", "one", "0") == "1"
        assert cluster.url.startswith(f"redis+sentinel://{HOST}:")


def test_packets_of_a_host_are_dropped_in_the_own_network_only(
    needs_redis: None, needs_network: None
) -> None:
    script = "import socket, sys; socket.create_connection((sys.argv[1], sys.argv[2]), 0.3)"

    def reaches(host: str) -> bool:
        command = [sys.executable, "-c", script, host, str(server.port)]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    with network.private(), Redis(host="127.0.0.2", also=["127.0.0.3"]) as server:
        with network.cut_off("127.0.0.2"):
            assert (reaches("127.0.0.2"), reaches("127.0.0.3")) == (False, True)
        assert reaches("127.0.0.2")
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True)
    assert b"cq" not in rules.stdout
