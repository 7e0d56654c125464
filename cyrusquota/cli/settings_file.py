"""Read the settings file: an INI file that knows the line of each setting.

It is an error if it cannot be read in every point, or if another user could have written it, since
its options decide what root does.
"""

from __future__ import annotations

import configparser
import functools
import os
import stat
from typing import Any, Iterator, Mapping, Optional

import attrs
import click

from cyrusquota.errors import ConfigError, printable, quote

COMMON, EXPORT, MIRROR, ENGINE = "common", "export", "mirror", "engine"
#: The sections that are those of commands; [engine] is for all that need one.
COMMANDS = (
    EXPORT,
    MIRROR,
    ENGINE,
    "check",
    "metrics",
    "doctor",
    "explain",
    "stores",
    "list",
    "report",
    "notify",
    "router",
    "settings",
)
#: The command that has a section for each domain.
BY_DOMAIN = "notify"
#: Far more than anybody writes.
_MAX_SIZE = 1 << 20
_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


@attrs.frozen
class Setting:
    """A key of the file, its value, and where it is."""

    path: str
    section: str
    key: str
    text: str
    line: int

    def error(self, message: str) -> ConfigError:
        """Return the error that `message` describes."""
        return _error(self.path, self.line, f"[{self.section}] {printable(self.key)}: {message}")

    def value(self, option: click.Option) -> Any:
        """Return what click takes as the default of `option`; raise `ConfigError` for no value."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        if option.multiple:
            return tuple(lines)
        if len(lines) > 1:
            raise self.error("takes one value; remove the other lines")
        value = self.text.strip()
        if not option.is_flag:
            return value
        if value.lower() not in _YES + _NO:
            raise self.error(f"expected yes or no, found {quote(_bytes(value))}")
        return value.lower() in _YES


def read(path: str) -> Mapping[str, tuple[Setting, ...]]:
    """Return the settings in each section of a file.

    Raises `ConfigError` if it is not a settings file, or must not be trusted.
    """
    text = _text(path)
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), default_section="\n", empty_lines_in_values=False
    )
    try:
        parser.read_file(_numbered(text, parser))
    except configparser.Error as error:
        raise _syntax_error(path, error) from None
    for name in parser.sections():
        kind, _, domain = name.partition(" ")
        if name not in (COMMON, *COMMANDS) and not (kind == BY_DOMAIN and domain.strip()):
            lines = [line.strip().startswith(f"[{name}]") for line in text.split("\n")]
            known = ", ".join((COMMON, *COMMANDS, f"{BY_DOMAIN} DOMAIN"))
            raise _error(
                path,
                lines.index(True) + 1,
                f"unknown section [{printable(name)}]; sections are {known}",
            )
    return {
        name: tuple(
            Setting(path, name, str(key), text, key.line)
            for key, text in parser.items(name)
            if isinstance(key, _Key)
        )
        for name in parser.sections()
    }


class _Key(str):
    """A key as it is in the file, where configparser would ignore its case, and its line."""

    line = 0

    @classmethod
    def on(cls, line: int, text: str) -> _Key:
        """Return the key `text` of a line."""
        key = cls(text)
        key.line = line
        return key


def _numbered(text: str, parser: configparser.ConfigParser) -> Iterator[str]:
    """Yield the lines of `text` for `parser`, whose keys then know which line they are on."""
    for number, line in enumerate(text.split("\n"), 1):
        parser.optionxform = functools.partial(_Key.on, number)  # type: ignore[method-assign]
        yield f"{line}\n"


def _opened(path: str, flags: int) -> int:
    # Otherwise opening a named pipe would wait for somebody to write to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _text(path: str) -> str:
    where = printable(path)
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{where}: not a file; name the settings file")
            _check_trusted(where, status)
            content = file.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{where}: no such file; `--settings ''` runs without a settings file"
        ) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(
            f"{where}: cannot be read: {reason}; run as root, or without it: --settings ''"
        ) from None
    if len(content) > _MAX_SIZE or b"\0" in content:
        raise ConfigError(f"{where}: not a settings file; it should be text, with [sections]")
    return content.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n")


def _check_trusted(where: str, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{where}: belongs to the user {status.st_uid}, who could change it; chown root {where}"
        )
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(f"{where}: any user may write to it; chmod o-w {where}")


def _syntax_error(path: str, error: configparser.Error) -> ConfigError:
    if isinstance(error, configparser.DuplicateSectionError):
        return _error(path, error.lineno, f"[{printable(error.section)}] is there twice; join them")
    if isinstance(error, configparser.DuplicateOptionError):
        key = printable(error.option)
        return _error(
            path,
            error.lineno,
            f"{key} is there twice; remove one, or give a repeatable option one value a line",
        )
    if isinstance(error, configparser.MissingSectionHeaderError):
        return _error(path, error.lineno, f"expected a section such as [{EXPORT}] before it")
    assert isinstance(error, configparser.ParsingError)
    return _error(path, error.errors[0][0], "expected KEY = VALUE, such as user = cyrus")


def _error(path: str, line: Optional[int], message: str) -> ConfigError:
    return ConfigError(f"{printable(path)}, line {line}: {message}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
