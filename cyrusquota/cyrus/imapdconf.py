"""imapd.conf as Cyrus reads it (lib/libconfig.c), and what this package needs from it.

An option given twice is only a warning here, and the last one counts. Everything else that Cyrus
does not start with raises `ConfigError`, with file and line.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Mapping, Optional

import attrs

from cyrusquota.cyrus.names import BUILT_IN_DOMAIN, Naming
from cyrusquota.errors import AnyPath, ConfigError, Place, printable, quote

DEFAULT_PATH = "/etc/imapd.conf"

_OPTION = re.compile(r"(?P<name>[A-Za-z0-9_-]+):(?P<value>.*)", re.DOTALL)
_INCLUDE = re.compile(r"@include:(?P<path>.*)", re.DOTALL)
#: Leading and trailing white space as C's isspace has it.
_BLANK = " \t\r\n\v\f"
_BASE = "{configdirectory}"
_ON = re.compile(r"1|y|t|on")
_OFF = re.compile(r"0|n|f|of")
#: Other spellings of the values of virtdomains (lib/imapoptions).
_VIRTDOMAINS = {"1": "on", "yes": "on", "t": "on", "true": "on"}
_VIRTDOMAINS.update({"0": "off", "no": "off", "f": "off", "false": "off"})
#: The names that lmtpd usually has in cyrus.conf; NAME_option goes before option there.
_LMTP_SERVICES = ("lmtpunix", "lmtp")
_CORRECT = "correct the file: Cyrus does not start with it either"


@attrs.frozen
class ImapdConf:
    """The options of an imapd.conf and its includes, names in lower case.

    `warnings` name what Cyrus does not accept and this reader does, one line each.
    """

    path: str
    options: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def get(self, name: str) -> Optional[str]:
        """Return the value of an option as lmtpd sees it, or None where it is not set.

        `lmtp_NAME` or `lmtpunix_NAME` go before NAME; `{configdirectory}` at the start of a value
        is replaced.
        """
        value = None
        for key in (*(f"{service}_{name}" for service in _LMTP_SERVICES), name):
            value = self.options.get(key)
            if value is not None:
                break
        if value is not None and value.startswith(_BASE):
            value = self.configdirectory + value[len(_BASE) :]
        return value

    def switch(self, name: str, default: bool) -> bool:
        """Return whether an option is on; the first letters decide, as in Cyrus.

        Raises `ConfigError` for any other value.
        """
        value = self.get(name)
        if value is None:
            return default
        if _ON.match(value):
            return True
        if _OFF.match(value):
            return False
        raise self._bad(name, value, "yes or no")

    @property
    def configdirectory(self) -> str:
        """Return the directory that all others are found from; raises `ConfigError` without one."""
        value = self.options.get("configdirectory")
        if value is None:
            raise ConfigError(
                f"{printable(self.path)}: expected the option configdirectory, found none;"
                " name the data with --db, --quota-output or --dump instead"
            )
        return value

    @property
    def virtdomains(self) -> str:
        """Return off, userid or on; raises `ConfigError` for any other value."""
        value = self.get("virtdomains")
        value = "off" if value is None else _VIRTDOMAINS.get(value, value)
        if value not in ("off", "userid", "on"):
            raise self._bad("virtdomains", value, "off, userid or on")
        return value

    @property
    def naming(self) -> Naming:
        """Return how this server maps addresses to user names; raises `ConfigError`."""
        domain = self.get("defaultdomain")
        return Naming(
            virtdomains=self.virtdomains != "off",
            defaultdomain=None if domain == BUILT_IN_DOMAIN else domain,
            downcase=self.switch("lmtp_downcase_rcpt", True),
        )

    @property
    def quota_backend(self) -> str:
        """Return the backend that `quota_db` names."""
        return self.get("quota_db") or "quotalegacy"

    @property
    def quota_path(self) -> Path:
        """Return the file of a quota database that is one file (imap/quota_db.c)."""
        return Path(self.get("quota_db_path") or os.path.join(self.configdirectory, "quotas.db"))

    @property
    def mailboxes_path(self) -> Path:
        """Return the path of the mailboxes database (imap/mboxlist.c)."""
        path = self.get("mboxlist_db_path")
        return Path(path or os.path.join(self.configdirectory, "mailboxes.db"))

    @property
    def quotalegacy_base(self) -> Path:
        """Return the directory that holds quota/ and domain/.

        quotalegacy always drops the last component of the path (lib/cyrusdb_quotalegacy.c).
        """
        path = self.get("quota_db_path")
        if path is None:
            return Path(self.configdirectory)
        directory, slash, _ = path.rpartition("/")
        return Path(directory or "/" if slash else path)

    def _bad(self, name: str, value: str, expected: str) -> ConfigError:
        return ConfigError(
            f"{printable(self.path)}: option {name}: expected {expected},"
            f" found {quote(value.encode('utf-8', 'surrogateescape'))}; {_CORRECT}"
        )


def load(path: AnyPath = DEFAULT_PATH) -> ImapdConf:
    """Read an imapd.conf with all that it includes; raises `ConfigError`."""
    reading = _Reading()
    reading.file(os.fspath(path), included_from=None)
    return ImapdConf(os.fspath(path), reading.options, tuple(reading.warnings))


@attrs.define
class _Reading:
    options: dict[str, str] = attrs.field(factory=dict)
    warnings: list[str] = attrs.field(factory=list)
    _seen: dict[str, Place] = attrs.field(factory=dict)
    _files: list[str] = attrs.field(factory=list)

    def file(self, path: str, included_from: Optional[Place]) -> None:
        if path in self._files:
            raise ConfigError(
                f"{included_from}: {printable(path)} is included a second time; {_CORRECT}"
            )
        self._files.append(path)
        for number, line in _logical_lines(_contents(path, included_from)):
            self._line(line, Place(path, line=number))

    def _line(self, line: str, place: Place) -> None:
        line = line.strip(_BLANK)
        if not line or line.startswith("#"):
            return
        include = _INCLUDE.fullmatch(line)
        if include is not None:
            self.file(include["path"].strip(_BLANK), included_from=place)
            return
        option = _OPTION.fullmatch(line)
        value = option["value"].strip(_BLANK) if option is not None else ""
        if option is None or not value:
            found = quote(line.encode("utf-8", "surrogateescape"))
            raise ConfigError(f"{place}: expected 'option: value', found {found}; {_CORRECT}")
        self._set(option["name"].lower(), value, place)

    def _set(self, name: str, value: str, place: Place) -> None:
        if name in self._seen:
            self.warnings.append(
                f"{place}: option {name} was set in {self._seen[name]} already; this one counts"
                " here, but Cyrus does not start with such a file"
            )
        self._seen[name] = place
        self.options[name] = value


def _contents(path: str, included_from: Optional[Place]) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except (OSError, ValueError) as error:
        by = f"{included_from} includes it: " if included_from else ""
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{by}{printable(path)}: cannot be read: {reason};"
            " name imapd.conf with -C, or the data with --db, --quota-output or --dump"
        ) from error


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return lines with the number of their first; a backslash right before LF joins the next."""
    lines: list[tuple[int, str]] = []
    joining = False
    raw = text.split("\n")
    for number, line in enumerate(raw, 1):
        more = line.endswith("\\") and number < len(raw)
        body = line[:-1] if more else line
        if joining:
            first, start = lines[-1]
            lines[-1] = first, start + body
        else:
            lines.append((number, body))
        joining = more
    return lines
