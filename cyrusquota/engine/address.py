"""Where an engine is, and what its clients need to be let in.

A URL is public: it stands in the list of processes, in logs and in maps. So it never has a user or
a password in it; those have options of their own, and passwords are in files.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from typing import Optional

import attrs

from cyrusquota.errors import EngineForbidden, OptionError, printable

PORT, SENTINEL_PORT = 6379, 26379
#: The scheme of URLs that name a socket of this host.
_UNIX = "unix"
_SENTINELS = "+sentinel"
_FORMS = "redis://HOST, rediss://HOST, unix:PATH or redis+sentinel://HOST,HOST,HOST/MASTER"
_URL = re.compile(r"(?P<scheme>rediss?(?:\+sentinel)?)://(?P<hosts>[^/?#]+)(?:/(?P<path>[^/?#]*))?")
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
#: Bytes of a password, at most.
_MAX_SECRET = 4096


@attrs.frozen
class Host:
    """An address on the network."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this host."""
        if self.name == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return False


@attrs.frozen
class Address:
    """A URL, taken apart: a socket, a server, or Sentinels that know the server called `master`."""

    url: str
    tls: bool = False
    socket: Optional[str] = None
    hosts: tuple[Host, ...] = ()
    master: Optional[str] = None

    @classmethod
    def of(cls, url: str) -> Address:
        """Parse a URL. Raises `OptionError`, without the URL where a password may be in it."""
        if url.startswith(f"{_UNIX}:"):
            path = re.sub("^//(?=/)", "", url[len(_UNIX) + 1 :])
            if not re.fullmatch(r"/[^/\0][^\0]*", path):
                raise OptionError(
                    f"engine {printable(url)}: expected the whole path of a socket, as in"
                    " unix:/run/redis/redis-server.sock"
                )
            return cls(f"{_UNIX}:{path}", socket=path)
        if "@" in url:
            raise OptionError(
                "engine: expected a URL without user and password, because everybody can see it;"
                " put them into user and password-file of [engine] in the settings file"
            )
        match = _URL.fullmatch(url)
        if match is None:
            raise OptionError(f"engine {printable(url)}: expected {_FORMS}")
        is_sentinel = match["scheme"].endswith(_SENTINELS)
        hosts = _hosts(url, match["hosts"], SENTINEL_PORT if is_sentinel else PORT)
        tls, path = match["scheme"].startswith("rediss"), match["path"] or ""
        if is_sentinel:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", path):
                raise OptionError(
                    f"engine {printable(url)}: expected the name by which the Sentinels know the"
                    " primary at the end, as in redis+sentinel://a,b,c/mymaster"
                )
            return cls(url, tls, None, hosts, path)
        if len(hosts) > 1 or path not in ("", "0"):
            raise OptionError(
                f"engine {printable(url)}: expected one host, and nothing behind it; stores are in"
                " the database 0"
            )
        return cls(url, tls, None, hosts)


def _hosts(url: str, text: str, port: int) -> tuple[Host, ...]:
    found = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None or not 0 < int(match["port"] or port) < 65536:
            raise OptionError(
                f"engine {printable(url)}: expected HOST or HOST:PORT, found {printable(part)!r}"
            )
        found.append(Host(match["name"].strip("[]"), int(match["port"] or port)))
    return tuple(found)


@attrs.frozen
class EngineConfig:
    """An engine and the credentials for it.

    `user` and `password_file` are for Redis, `sentinel_user` and `sentinel_password_file` for the
    Sentinels. `ca_file` has the authorities that certificates are checked with (default: the
    system's), `cert_file` and `key_file` a certificate of this host. Without TLS only loopback is
    spoken to, unless `plaintext_over_network`.
    """

    address: Address
    user: Optional[str] = None
    password_file: Optional[str] = None
    sentinel_user: Optional[str] = None
    sentinel_password_file: Optional[str] = None
    ca_file: Optional[str] = None
    cert_file: Optional[str] = None
    key_file: Optional[str] = None
    plaintext_over_network: bool = False

    def credentials(self, *, sentinel: bool = False) -> tuple[str, ...]:
        """Return what follows AUTH, read from the file now; nothing where there is no password."""
        user, path = self.user, self.password_file
        if sentinel:
            user, path = self.sentinel_user, self.sentinel_password_file
        if path is None:
            return ()
        password = secret(path)
        return (password,) if user is None else (user, password)

    def check_files(self) -> None:
        """Raise `EngineForbidden` unless the files of certificates can be read."""
        for path in (self.ca_file, self.cert_file, self.key_file):
            if path is not None:
                _read(path)


def secret(path: str) -> str:
    """Return the password in a file. Raises `EngineForbidden`, also if everybody may read it."""
    content = _read(path, is_secret=True)
    text = content.decode("utf-8", "replace").rstrip("\r\n")
    if not text or "\n" in text or len(content) > _MAX_SECRET:
        raise EngineForbidden(f"{printable(path)}: expected a password on a single line")
    return text


def _read(path: str, *, is_secret: bool = False) -> bytes:
    where = printable(path)
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if is_secret and mode & 0o007:
                raise EngineForbidden(
                    f"{where}: is open to all users of this host; run `chmod o= {where}`, and"
                    " change the password"
                )
            return file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise EngineForbidden(
            f"{where}: cannot be read: {error.strerror or error}; check its path and its rights, as"
            " the engine is not asked without it"
        ) from error
