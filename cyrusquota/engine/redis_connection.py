"""A connection to a Redis server or a Sentinel, with bounds for the time and the size of an answer.

`redis` is imported here only, and only when it is needed. Of python3-redis the connections are used
and nothing else: no pool and no repetition of commands.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Any, Iterator, Sequence, Union

import attrs

from cyrusquota.engine.address import EngineConfig, Host
from cyrusquota.engine.redis_errors import engine_error
from cyrusquota.errors import EngineError, EngineForbidden, EngineMisfit

#: Seconds to connect to a server and to log in, and the same for a Sentinel.
CONNECT, SENTINEL = 1.0, 0.5
#: Bytes of an answer, at most; those of the functions are below.
MAX_ANSWER = 16 << 20


@attrs.define
class _Budget:
    """What is left of the time and the size of an answer."""

    deadline: float = 0.0
    size: int = 0
    is_exceeded: bool = False

    def begin(self, seconds: float) -> None:
        self.deadline, self.size = time.monotonic() + seconds, MAX_ANSWER
        self.is_exceeded = False

    def seconds(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    def count(self, size: int) -> None:
        self.size -= size
        if self.size < 0:
            self.is_exceeded = True
            raise OSError("the answer is too large")


class _BoundedSocket:
    """A socket that keeps to a budget."""

    def __init__(self, sock: Any, budget: _Budget) -> None:
        self._sock = sock
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int, *flags: int) -> bytes:
        self._sock.settimeout(self._budget.seconds())
        data: bytes = self._sock.recv(size, *flags)
        self._budget.count(len(data))
        return data

    def recv_into(self, buffer: Any, *sizes: int) -> int:
        self._sock.settimeout(self._budget.seconds())
        size: int = self._sock.recv_into(buffer, *sizes)
        self._budget.count(size)
        return size

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._budget.seconds())
        self._sock.sendall(data)


def redis_module() -> Any:
    """Return python3-redis. Raises `EngineError` where it is missing."""
    try:
        import redis
    except ImportError:
        raise EngineError(
            "engine: the Python module redis is missing; apt-get install python3-redis, or"
            " pip install 'cyrusquota[engine]'"
        ) from None
    return redis


@attrs.define
class Connection:
    """A connection to one server, Redis or Sentinel."""

    where: str
    tls: bool
    plain: Any
    budget: _Budget

    @classmethod
    def to(
        cls, config: EngineConfig, target: Union[str, Host], *, sentinel: bool = False
    ) -> Connection:
        """Connect to a socket or a host, and log in. Raises `EngineError`."""
        redis, budget, tls = redis_module(), _Budget(), config.address.tls
        credentials = config.credentials(sentinel=sentinel)
        seconds = SENTINEL if sentinel else CONNECT
        options: dict[str, Any] = {
            "socket_timeout": seconds,
            # Otherwise versions from 5 on say who they are, which users need no right for.
            "redis_connect_func": lambda made: made._parser.on_connect(made),
        }
        if int(redis.__version__.split(".")[0]) >= 5:
            options["protocol"] = 2
        where = f"engine {config.address.url if isinstance(target, str) else target}"
        if isinstance(target, Host) and not tls:
            _check_plaintext(config, target, where)
        config.check_files()

        plain = redis.Connection(**options)
        plain._connect = lambda: _BoundedSocket(_connected(config, target, seconds), budget)
        found = cls(where, tls, plain, budget)
        found.log_in(credentials, seconds)
        return found

    def log_in(self, credentials: Sequence[str], seconds: float) -> None:
        self.budget.begin(seconds)
        with self._errors():
            self.plain.connect()
        if credentials:
            self.call(["AUTH", *credentials], seconds)

    def call(self, words: Sequence[Any], seconds: float) -> Any:
        """Return the answer to a command. Raises `EngineError`; the connection is closed then."""
        self.budget.begin(seconds)
        with self._errors():
            self.plain.send_command(*words, check_health=False)
            return self.plain.read_response()

    def is_broken(self) -> bool:
        """Return whether the server has closed the connection since the last answer.

        What is sent then fails, and nobody knows whether it was carried out.
        """
        sock = self.plain._sock
        if sock is None:
            return True
        readable, _, _ = select.select([sock], [], [], 0)
        return bool(readable)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        redis = redis_module()
        try:
            yield
        except (redis.RedisError, OSError, ValueError, RecursionError) as error:
            self.close()
            if self.budget.is_exceeded:
                raise EngineMisfit(
                    f"{self.where}: sends more than {MAX_ANSWER >> 20} MiB at once, which the"
                    " functions of cyrusquota never do; check the URL"
                ) from error
            raise engine_error(self.where, error, tls=self.tls) from error
        except BaseException:
            # An answer that is read later would be taken for that to another request.
            self.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.plain.disconnect()


def _check_plaintext(config: EngineConfig, target: Host, where: str) -> None:
    if not target.is_loopback and not config.plaintext_over_network:
        raise EngineForbidden(
            f"{where}: is not on this host, and without TLS everybody on the way can read and"
            " change what is said; use rediss://"
        )


def _connected(config: EngineConfig, target: Union[str, Host], seconds: float) -> socket.socket:
    """Return a socket that is connected; python3-redis leaves some open where that fails."""
    if isinstance(target, str):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        made = socket.create_connection((target.name, target.port), seconds)
    try:
        if isinstance(target, str):
            made.settimeout(seconds)
            made.connect(target)
            return made
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not config.address.tls:
            return made
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
        return context.wrap_socket(made, server_hostname=target.name)
    except BaseException:
        made.close()
        raise
