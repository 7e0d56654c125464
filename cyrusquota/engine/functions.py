"""The library of functions for Redis, and the rights that its users need.

An administrator loads the library and makes the users. What a function does is checked against the
rights of its caller, so they need the commands inside, too.
"""

from __future__ import annotations

import importlib.resources
import re

from cyrusquota.engine import protocol

#: The library of functions in the server; another format has another one, beside it.
LIBRARY = f"cyrusquota_{protocol.FORMAT}"
#: What the names of its functions begin with.
PREFIX = f"cq{protocol.FORMAT}_"
#: How it is loaded.
LOAD = "`cyrusquota engine functions | redis-cli -x FUNCTION LOAD REPLACE`"

_READS = "+fcall_ro +hmget +hscan +xrange"
_WRITES = "+fcall +hset +hdel +hlen +hexists +xadd +unlink"


def text() -> bytes:
    """Return the library, for `FUNCTION LOAD`."""
    return importlib.resources.files("cyrusquota.engine").joinpath("functions.lua").read_bytes()


def revision() -> str:
    """Return the revision of the library, which goes up with each change of it."""
    match = re.search(rb"^local REVISION = '(\d+)'$", text(), re.MULTILINE)
    assert match is not None
    return match[1].decode()


def backend_rights(user: str, store: str) -> str:
    """Return the line of an ACL file for the publisher of a store."""
    protocol.check_store_name(store)
    return _line(user, f"~cq:{{{store}}}:*", f"{_READS} {_WRITES}")


def mirror_rights(user: str) -> str:
    """Return the line for the mirrors, and for whatever else only reads."""
    return _line(user, "%R~cq:{*}:*", f"{_READS} +scan")


def administrator_rights(user: str) -> str:
    """Return the line for `cyrusquota stores`, with --forget and --accept-change."""
    return _line(user, "~cq:{*}:*", f"{_READS} +scan +fcall +hset +unlink")


def _line(user: str, keys: str, commands: str) -> str:
    return f"user {user} on >PASSWORD resetchannels {keys} -@all {commands}"
