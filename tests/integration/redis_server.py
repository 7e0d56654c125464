"""Private Redis servers and Sentinels: own directories, ports and users, gone after the test.

CYRUSQUOTA_REDIS names a server to try the same with another one, as /usr/bin/valkey-server; the
client and the Sentinel are looked for beside it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Iterator, Mapping, Optional, Sequence

import attrs

from . import processes
from .certificates import Authority, Certificate
from .processes import until
from .smtp import HOST, free_ports

#: Of the user that these classes are; a server with `acl` has no other but those.
ADMIN, PASSWORD = "test", "admin"
#: Seconds that a server may take to start, to answer or to stop before the test fails.
PATIENCE = 30
#: The name that Sentinels know the primary by, and how long it may be silent.
MASTER, DOWN_AFTER_MS = "cq", 2000


def program(kind: str = "server") -> Optional[str]:
    """The path of the server, the `cli` or the `sentinel`."""
    named = os.environ.get("CYRUSQUOTA_REDIS", "redis-server")
    return shutil.which(re.sub("server$", kind, named))


def missing() -> Optional[str]:
    """What keeps Redis from running here and what to do about it, or None."""
    for kind, package in (
        ("server", "redis-server"),
        ("cli", "redis-tools"),
        ("sentinel", "redis-sentinel"),
    ):
        if program(kind) is None:
            return f"no redis-{kind} here: apt-get install {package}"
    if importlib.util.find_spec("redis") is None:
        return "no module redis here: pip install 'cyrusquota[engine]'"
    return None


@attrs.frozen
class Tls:
    """What a server needs to speak TLS only."""

    authority: Authority
    server: Certificate
    #: Whether clients need a certificate.
    asks_clients: bool = False


class _Server:
    """A process in a directory of its own; `start` and `kill` work any number of times."""

    kind = "server"

    def __init__(self, host: str, port: Optional[int]) -> None:
        self.host = host
        self.port = free_ports(1)[0] if port is None else port
        # Short, because the paths of Unix sockets are.
        self.directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
        self.directory.chmod(0o755)
        self.conf = self.directory / "conf"
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server, with what it finds in its directory, and wait until it answers."""
        path = program(self.kind)
        assert path is not None, missing()
        self._process = processes.start([path, str(self.conf)], self.directory / "log")
        try:
            until(self._answers, f"{self.kind} on port {self.port} answers")
        except AssertionError as error:
            raise RuntimeError(f"{path} did not start: {self.log}") from error

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError("it has ended")
        return self.attempt("PING").stdout.strip() == b"PONG"

    def kill(self) -> None:
        """End the server as `kill -9` does."""
        process, self._process = self._process, None
        if process is not None:
            processes.kill(process)

    def freeze(self) -> None:
        """Stop the server without an end to its connections, as SIGSTOP does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def stop(self) -> None:
        """End the server and remove all that it leaves."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def attempt(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        raise NotImplementedError

    def run(self, *words: str, stdin: bytes = b"") -> str:
        """What redis-cli prints of a command that must succeed."""
        done = self.attempt(*words, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout.decode().rstrip("\n")


class Redis(_Server):
    """A Redis server. It keeps nothing over a restart, unless `options` say so.

    `acl` are lines of an ACL file; with them the default user is off. `functions` is a library to
    load at each start. `replica_of` is the primary. Further addresses to listen on are `also`. To
    have it show another certificate from its next start on, set `tls`.
    """

    def __init__(
        self,
        *,
        host: str = HOST,
        also: Sequence[str] = (),
        port: Optional[int] = None,
        tls: Optional[Tls] = None,
        acl: Optional[Sequence[str]] = None,
        functions: Optional[bytes] = None,
        options: Optional[Mapping[str, str]] = None,
        replica_of: Optional[Redis] = None,
    ) -> None:
        super().__init__(host, port)
        self.tls = tls
        self.functions = functions
        self.socket = self.directory / "socket"
        self._acl_file = self.directory / "users.acl"
        self._has_users = acl is not None
        self.users(acl or ())
        self._options = {
            "bind": " ".join((host, *also)),
            # It would take clients of 127.0.0.1 only.
            "protected-mode": "no",
            "unixsocket": str(self.socket),
            "unixsocketperm": "777",
            "dir": str(self.directory),
            "aclfile": str(self._acl_file),
            "save": '""',
            "appendonly": "no",
            **self._replication(replica_of),
            **(options or {}),
        }

    def __enter__(self) -> Redis:
        self.start()
        return self

    def _ports(self) -> dict[str, str]:
        if self.tls is None:
            return {"port": str(self.port)}
        return {
            "port": "0",
            "tls-port": str(self.port),
            "tls-ca-cert-file": str(self.tls.authority.ca),
            "tls-cert-file": str(self.tls.server.cert),
            "tls-key-file": str(self.tls.server.key),
            "tls-auth-clients": "yes" if self.tls.asks_clients else "no",
            "tls-replication": "yes",
        }

    def _replication(self, primary: Optional[Redis]) -> dict[str, str]:
        found = {
            # Any server may be a replica one day. Its packets come from its own address.
            "bind-source-addr": self.host,
            "replica-announce-ip": self.host,
            "replica-announce-port": str(self.port),
            "masteruser": ADMIN,
            "masterauth": PASSWORD,
            "repl-diskless-sync-delay": "0",
        }
        if primary is not None:
            found["replicaof"] = f"{primary.host} {primary.port}"
        return found

    @property
    def url(self) -> str:
        """Where clients reach it over the network."""
        scheme = "redis" if self.tls is None else "rediss"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"unix:{self.socket}"

    def start(self) -> None:
        if not self.conf.exists() or self.tls is not None:
            options = {**self._options, **self._ports()}
            self.conf.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        super().start()
        if self.functions is not None and self.role() == "master":
            self.load(self.functions)

    def users(self, acl: Sequence[str]) -> None:
        """Let it have these users, lines of an ACL file, from its next start or `ACL LOAD` on."""
        default = "user default off" if self._has_users else "user default on nopass ~* &* +@all"
        admin = f"user {ADMIN} on >{PASSWORD} ~* &* +@all"
        self._acl_file.write_text("".join(f"{line}\n" for line in (default, admin, *acl)))

    def reload_users(self, acl: Sequence[str]) -> None:
        """Change the users of a server that runs, and close all connections of clients."""
        self.users(acl)
        self.run("ACL", "LOAD")
        # Servers later than Redis 7.0 keep those of a user who has only got another password.
        self.run("CLIENT", "KILL", "TYPE", "normal")

    def load(self, functions: bytes) -> None:
        """Load a library of functions, in place of one of that name."""
        self.run("-x", "FUNCTION", "LOAD", "REPLACE", stdin=functions)

    def empty(self) -> None:
        """Remove all data; functions stay."""
        self.run("FLUSHALL")

    def keys(self) -> list[str]:
        """The names of all keys."""
        return sorted(self.run("KEYS", "*").splitlines())

    def attempt(
        self, *words: str, stdin: bytes = b"", user: str = ADMIN, password: str = PASSWORD
    ) -> subprocess.CompletedProcess[bytes]:
        """The outcome of a command of redis-cli over the Unix socket, good or bad."""
        cli = program("cli")
        assert cli is not None, missing()
        command = [cli, "-e", "-s", str(self.socket), "--user", user, *words]
        environment = {**os.environ, "REDISCLI_AUTH": password}
        return subprocess.run(
            command, input=stdin, env=environment, capture_output=True, timeout=PATIENCE
        )

    def role(self) -> str:
        """`master` or `slave`, in the words of Redis."""
        return self.run("ROLE").partition("\n")[0]

    def in_step_with(self, primary: Redis) -> bool:
        """Whether it is a replica of `primary` with all that the primary has."""
        said = self.run("INFO", "replication")
        mine = re.search(r"^master_repl_offset:(\d+)", said, re.MULTILINE)
        theirs = re.search(r"^master_repl_offset:(\d+)", primary.run("INFO", "replication"), re.M)
        assert mine is not None and theirs is not None
        return "master_link_status:up" in said and int(mine[1]) >= int(theirs[1])


class Sentinel(_Server):
    """A Sentinel that watches the primary `primary`."""

    kind = "sentinel"

    def __init__(
        self,
        primary: Redis,
        *,
        host: str = HOST,
        port: Optional[int] = None,
        down_after_ms: int = DOWN_AFTER_MS,
    ) -> None:
        super().__init__(host, port)
        lines = [
            f"bind {host}",
            f"bind-source-addr {host}",
            "protected-mode no",
            f"port {self.port}",
            f"dir {self.directory}",
            f"sentinel announce-ip {host}",
            f"sentinel announce-port {self.port}",
            f"sentinel monitor {MASTER} {primary.host} {primary.port} 2",
            f"sentinel auth-user {MASTER} {ADMIN}",
            f"sentinel auth-pass {MASTER} {PASSWORD}",
            f"sentinel down-after-milliseconds {MASTER} {down_after_ms}",
            f"sentinel failover-timeout {MASTER} 10000",
        ]
        self.conf.write_text("".join(f"{line}\n" for line in lines))

    def attempt(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        cli = program("cli")
        assert cli is not None, missing()
        command = [cli, "-e", "-h", self.host, "-p", str(self.port), *words]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)

    def primary(self) -> tuple[str, int]:
        """The address of the primary, as this Sentinel knows it."""
        host, port = self.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER).split("\n")
        return host, int(port)

    def knows(self, replicas: int, others: int) -> bool:
        """Whether it has found as many replicas and other Sentinels as there are."""
        words = self.run("SENTINEL", "MASTER", MASTER).splitlines()
        found = dict(zip(words[::2], words[1::2]))
        counts = int(found["num-slaves"]), int(found["num-other-sentinels"])
        return counts == (replicas, others) and found["flags"] == "master"


class Replicated:
    """A primary, replicas and three Sentinels; `hosts` are their addresses, in this order.

    All share the loopback address by default. To cut one off it needs an address of its own.
    """

    def __init__(
        self,
        *,
        replicas: int = 2,
        hosts: Optional[Sequence[str]] = None,
        down_after_ms: int = DOWN_AFTER_MS,
        acl: Optional[Sequence[str]] = None,
        functions: Optional[bytes] = None,
        options: Optional[Mapping[str, str]] = None,
    ) -> None:
        at = iter(hosts or [HOST] * (replicas + 4))
        first = Redis(host=next(at), acl=acl, functions=functions, options=options)
        self.servers = [first]
        for _ in range(replicas):
            one = Redis(
                host=next(at), acl=acl, functions=functions, options=options, replica_of=first
            )
            self.servers.append(one)
        self.sentinels = [
            Sentinel(first, host=next(at), down_after_ms=down_after_ms) for _ in range(3)
        ]

    @property
    def url(self) -> str:
        """Where clients learn of the primary."""
        listed = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{listed}/{MASTER}"

    def __enter__(self) -> Replicated:
        try:
            for server in (*self.servers, *self.sentinels):
                server.start()
            until(self._is_complete, "the Sentinels know each other and all replicas")
        except BaseException:
            self.stop()
            raise
        return self

    def _is_complete(self) -> bool:
        first, *replicas = self.servers
        return all(one.in_step_with(first) for one in replicas) and all(
            one.knows(len(replicas), 2) for one in self.sentinels
        )

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.stop()

    def primary(self) -> Redis:
        """The server that the Sentinels say is the primary."""
        where = self.sentinels[0].primary()
        (found,) = [one for one in self.servers if (one.host, one.port) == where]
        return found

    def wait_for_failover(self, before: Redis) -> Redis:
        """The new primary, as soon as each Sentinel names it and it has taken over."""
        old = before.host, before.port

        def is_over() -> bool:
            named = {one.primary() for one in self.sentinels}
            return len(named) == 1 and old not in named and self.primary().role() == "master"

        until(is_over, "the Sentinels have a new primary")
        return self.primary()
