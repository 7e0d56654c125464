"""The settings file cannot be used."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator
from unittest import mock

from cyrusquota.errors import ConfigError, OptionError
from tests.error_cases.case import ErrorCase

_LINE = "cyrusquota-export --settings settings"


def _case(title: str, text: bytes, line: str = _LINE) -> ErrorCase:
    return ErrorCase(title, ConfigError, line, files={"settings": text})


@contextlib.contextmanager
def _writable_by_all() -> Iterator[None]:
    os.chmod("settings", 0o666)
    yield


@contextlib.contextmanager
def _of_another_user() -> Iterator[None]:
    """Let the file belong to somebody else; who is not root is somebody else instead."""
    if os.geteuid() == 0:
        os.chown("settings", 4321, -1)
        yield
    else:
        with mock.patch("os.geteuid", return_value=4321):
            yield


CASES = (
    ErrorCase("no settings file", ConfigError, _LINE),
    ErrorCase("a device for settings", ConfigError, "cyrusquota-export --settings /dev/null"),
    ErrorCase("a directory of settings", ConfigError, _LINE, files={"settings": None}),
    ErrorCase(
        "a settings file of an impossible name",
        ConfigError,
        f"{_LINE}/settings",
        files={"settings": b""},
    ),
    ErrorCase(
        "a settings file that any user may write",
        ConfigError,
        _LINE,
        files={"settings": b""},
        meanwhile=_writable_by_all,
    ),
    ErrorCase(
        "a settings file of another user",
        ConfigError,
        _LINE,
        files={"settings": b""},
        meanwhile=_of_another_user,
    ),
    _case("a settings file that is no text", b"\0"),
    _case("a section twice", b"[export]\n[list]\n[export]\n"),
    _case("a key twice", b"[export]\nkey = auto\nkey = local\n"),
    _case("no section", b"key = auto\n"),
    _case("a key without a value", b"[export]\nrefuse\n"),
    _case("an unknown section", b"[exports]\n"),
    _case("an unknown key", b"[export]\nreserves = 2%\n"),
    _case("a key that commands do not share", b"[common]\noutput = map\n"),
    _case("a key for a single run", b"[export]\nfollow = yes\n"),
    _case("a flag that is neither yes nor no", b"[export]\nrefuse = maybe\n"),
    _case("several values for one", b"[export]\nkey =\n  auto\n  local\n"),
    _case("a value that is no choice", b"[export]\nkey = both\n"),
    _case("a value that is no amount", b"[common]\nreserve = lots\n"),
    _case("settings that exclude one another", b"[common]\ndb = a\ndump = b\n"),
    ErrorCase(
        "a setting that excludes an option",
        OptionError,
        f"{_LINE} --follow -o map",
        files={"settings": b"[common]\ndump = b\n"},
    ),
    ErrorCase("a router for Postfix", OptionError, "cyrusquota router --map-format postfix"),
    ErrorCase("a cdb with headroom", OptionError, "cyrusquota router --map-format cdb --refuse"),
    ErrorCase("a map with a blank", OptionError, "cyrusquota router --map '/a b' --key local"),
    ErrorCase("settings of an unknown command", OptionError, "cyrusquota settings exports"),
)
