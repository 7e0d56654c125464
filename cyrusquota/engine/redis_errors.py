"""Say what is wrong when a Redis server does not do what it is asked, and what to do.

Errors are told apart by what the server says. Versions of python3-redis have classes of their own
for some of them, and leave out the first word then, so the names of classes count too.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Iterator, Optional

from cyrusquota.engine.functions import LIBRARY, LOAD
from cyrusquota.errors import (
    EngineError,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
    printable,
)

_RIGHTS = (
    "name a user that may in [engine], or give this one the line that `cyrusquota engine acl`"
    " prints, then `ACL LOAD`"
)
_NO_REDIS = "is no Redis server, or is too old: Redis from 7.0 on or Valkey is needed"

#: What an error says, as a pattern; the class of the exception, and what to say and do.
_TABLE: tuple[tuple[str, type[EngineError], str], ...] = (
    (
        "Function not found",
        EngineMisfit,
        f"the functions {LIBRARY} are not loaded there; run {LOAD} and then `redis-cli SAVE`,"
        " with -h, --tls and --user as in docs/many-hosts.md",
    ),
    ("unknown command", EngineMisfit, _NO_REDIS),
    (
        "MOVED|MovedError|CROSSSLOT|CrossSlot|CLUSTERDOWN|[Hh]ash slot|cluster",
        EngineMisfit,
        "it belongs to a Redis Cluster, where stores would be on different servers; use a single"
        " Redis, with Sentinel for a replacement",
    ),
    ("Protocol Error|InvalidResponse", EngineMisfit, _NO_REDIS),
    (
        "WRONGPASS|invalid username-password|[Ii]nvalid password",
        EngineForbidden,
        "the user or the password is wrong, or the user is off; check user and password-file of"
        " [engine], and `ACL LIST` there",
    ),
    (
        "NOAUTH|Authentication required",
        EngineForbidden,
        "it wants a password; name user and password-file in [engine] of the settings file",
    ),
    (
        "no password is set|without any password configured",
        EngineForbidden,
        "it has no password for the default user; name the user in [engine], or leave out"
        " password-file",
    ),
    ("NOPERM|NoPermission|can't (run|access)|[Nn]o permission", EngineForbidden, _RIGHTS),
    (
        "DENIED|protected mode",
        EngineForbidden,
        "it is in protected mode and lets nobody in from other hosts; give it users with passwords",
    ),
    (
        "READONLY|read.?only replica",
        EngineUnreachable,
        "it is a replica, which cannot be written to; name the primary, or the Sentinels",
    ),
    ("LOADING|loading the dataset", EngineUnreachable, "it is still loading its data; wait"),
    (
        "MASTERDOWN|MasterDown|NOREPLICAS",
        EngineUnreachable,
        "its replication is broken; look at `INFO replication` there",
    ),
    (
        "BUSY ",
        EngineUnreachable,
        "another script keeps it busy; look at its log, and at `SCRIPT KILL` and `FUNCTION KILL`",
    ),
    (
        "OOM |maxmemory|OutOfMemory",
        EngineUnreachable,
        "its memory is full; raise maxmemory, and set maxmemory-policy to noeviction",
    ),
    (
        "MISCONF",
        EngineUnreachable,
        "it cannot save its data and so takes none; make room on its disk, or set"
        " stop-writes-on-bgsave-error to no",
    ),
    (
        "max number of clients",
        EngineUnreachable,
        "it has too many clients; look at `CLIENT LIST` and maxclients there",
    ),
)


def engine_error(where: str, error: BaseException, *, tls: bool) -> EngineError:
    """Return the exception for an error that python3-redis has raised for the server `where`."""
    said = str(error)
    for reason in _reasons(error):
        if isinstance(reason, ssl.SSLError):
            return _tls_error(where, reason)
    for pattern, kind, advice in _TABLE:
        if re.search(pattern, f"{type(error).__name__}: {said}"):
            return kind(f"{where}: {advice} (it says: {_short(said)})")
    return EngineUnreachable(f"{where}: {_connection(error, said, tls=tls)}")


def _connection(error: BaseException, said: str, *, tls: bool) -> str:
    """Return what is wrong with a connection, and what to do."""
    for reason in _reasons(error):
        if isinstance(reason, socket.gaierror):
            return "no address is known for that name; check the URL, and the resolver"
        if isinstance(reason, (socket.timeout, TimeoutError)) or "imeout" in type(reason).__name__:
            speaks = ", that it speaks TLS on that port," if tls else ""
            return f"does not answer in time; check that it runs{speaks} and the network"
        if isinstance(reason, PermissionError):
            return "permission denied; check the rights of the socket"
        if isinstance(reason, ConnectionResetError):
            said = "closed"
        elif isinstance(reason, OSError) and reason.strerror:
            return f"{reason.strerror}; check the URL, that it runs, and the network"
    if "closed" in said:
        advice = "it speaks TLS only, use rediss://"
        if tls:
            advice = "it asks for a certificate, check cert-file and key-file of [engine]"
        return f"closes the connection; look at its log; if {advice}"
    return f"fails: {_short(said)}; look at its log"


def _tls_error(where: str, error: ssl.SSLError) -> EngineError:
    said = _short(str(error.reason or error).replace("_", " ").lower())
    if isinstance(error, ssl.SSLCertVerificationError):
        said = _short(error.verify_message or said)
        advice = "check ca-file of [engine], the host's name in the URL, and the certificate there"
        return EngineForbidden(f"{where}: its certificate is not accepted: {said}; {advice}")
    if re.search("wrong version|unknown protocol|record layer|packet length", said):
        return EngineMisfit(
            f"{where}: does not speak TLS on that port ({said}); check the port, or use redis://"
            " where it is on this host"
        )
    return EngineForbidden(
        f"{where}: TLS fails: {said}; check ca-file, cert-file and key-file of [engine], and what"
        " its log says"
    )


def _reasons(error: Optional[BaseException]) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _short(said: str) -> str:
    return printable(said[:120]).strip()
