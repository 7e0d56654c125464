"""imapd.conf as Cyrus reads it (lib/libconfig.c), and what this package needs from it.

An option given twice is only a warning here, and the last one counts. Everything else that Cyrus
does not start with raises `ConfigError`, with file and line.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Iterator, Mapping, Optional

import attrs

from cyrusquota.cyrus.cyrusconf import lmtpd_services
from cyrusquota.cyrus.names import BUILT_IN_DOMAIN, Naming, inbox_of_user
from cyrusquota.errors import AnyPath, ConfigError, OptionError, Place, printable, quote

DEFAULT_PATH = "/etc/imapd.conf"

_OPTION = re.compile(r"(?P<name>[A-Za-z0-9_-]+):(?P<value>.*)", re.DOTALL)
_INCLUDE = re.compile(r"@include:(?P<path>.*)", re.DOTALL | re.IGNORECASE)
#: Leading and trailing white space as C's isspace has it.
_BLANK = " \t\r\n\v\f"
_BASE = "{configdirectory}"
_ON = re.compile(r"1|y|t|on")
_OFF = re.compile(r"0|n|f|of")
#: Other spellings of the values of virtdomains (lib/imapoptions).
_VIRTDOMAINS = {"1": "on", "yes": "on", "t": "on", "true": "on"}
_VIRTDOMAINS.update({"0": "off", "no": "off", "f": "off", "false": "off"})
#: The names that lmtpd usually has in cyrus.conf. NAME_option goes before option there.
_USUAL_SERVICES = ("lmtpunix", "lmtp")
#: The options that say where the quotas are and who is over. Services may differ in others.
_RELEVANT = (
    *("configdirectory", "quota_db", "quota_db_path", "mboxlist_db", "mboxlist_db_path"),
    *("conversations_db", "mboxname_userpath", "sql_engine", "sql_database", "sql_hostnames"),
    *("virtdomains", "defaultdomain", "lmtp_downcase_rcpt", "lmtp_strict_quota"),
    *("quota_use_conversations", "fulldirhash", "hashimapspool", "metapartition_files"),
    *("servername", "postuser", "lmtp_catchall_mailbox", "mailbox_maxmessages_email"),
)
_CORRECT = "correct the file: Cyrus does not start with it either"
#: Far more than any site needs, and little enough to be read in no time: bytes of imapd.conf and
#: all its includes, and of one option; includes within includes.
_LONGEST, _LONGEST_OPTION, _DEEPEST = 1 << 20, 1 << 16, 100


@attrs.frozen
class ImapdConf:
    """The options of an imapd.conf and its includes, names in lower case.

    `warnings` name what Cyrus does not accept and this reader does, and lmtpd services that differ,
    one line each.
    """

    path: str
    options: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    #: The names of the lmtpd in cyrus.conf.
    services: tuple[str, ...] = _USUAL_SERVICES

    def get(self, name: str) -> Optional[str]:
        """Return the value of an option as lmtpd sees it, or None where it is not set.

        SERVICE_NAME goes before NAME; `{configdirectory}` at the start of a value is replaced.
        """
        value = self._value(name)
        if value is not None and value[: len(_BASE)].lower() == _BASE:
            value = self.configdirectory + value[len(_BASE) :]
        return value

    def _value(self, name: str) -> Optional[str]:
        keys = (*(f"{service.lower()}_{name}" for service in self.services), name)
        return next((self.options[key] for key in keys if key in self.options), None)

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
        value = self._value("configdirectory")
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
    def catchall_inbox(self) -> Optional[str]:
        """Return the internal name of the INBOX of lmtp_catchall_mailbox, or None if not set."""
        user = self.get("lmtp_catchall_mailbox")
        return inbox_of_user(user, self.naming) if user else None

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


def load(path: AnyPath = DEFAULT_PATH, service: Optional[str] = None) -> ImapdConf:
    """Read an imapd.conf with all that it includes, as lmtpd sees it.

    The cyrus.conf beside it says under which name lmtpd runs, and whether it has another
    imapd.conf, which is read instead. `service` chooses one of several, by default `lmtpunix`,
    `lmtp`, or else the first. Raises `ConfigError`, and `OptionError` where there is no such
    service.
    """
    given = _load(os.fspath(path))
    cyrus_conf = os.path.join(os.path.dirname(given.path), "cyrus.conf")
    confs = {}
    for found in lmtpd_services(cyrus_conf):
        own = given if found.config is None else _load(found.config)
        # Several servers may have their files in one directory.
        if own.options.get("configdirectory") == given.options.get("configdirectory"):
            confs[found.name] = attrs.evolve(own, services=(found.name,))
    if service is not None and confs and service not in confs:
        raise OptionError(
            f"--service: {printable(cyrus_conf)} has no lmtpd called {printable(service)}; choose"
            f" from {', '.join(confs)}"
        )
    if not confs:
        return given if service is None else attrs.evolve(given, services=(service,))
    name = service or next((one for one in _USUAL_SERVICES if one in confs), next(iter(confs)))
    chosen = confs[name]
    differing = [] if service is not None else _differing(chosen, confs)
    return attrs.evolve(chosen, warnings=(*chosen.warnings, *differing))


def _differing(chosen: ImapdConf, confs: Mapping[str, ImapdConf]) -> Iterator[str]:
    """Yield a warning for each service that has other values of what counts here."""
    for name, conf in confs.items():
        options = [one for one in _RELEVANT if conf._value(one) != chosen._value(one)]
        if options:
            (used,) = chosen.services
            yield (
                f"{printable(chosen.path)}: the lmtpd services {used} and {name} of cyrus.conf"
                f" differ in {', '.join(options)}; those of {used} count here, choose the one that"
                " the MTA hands its mail to with --service"
            )


def _load(path: str) -> ImapdConf:
    reading = _Parser()
    reading.file(path, included_from=None)
    return ImapdConf(path, reading.options, tuple(reading.warnings))


@attrs.define
class _Parser:
    options: dict[str, str] = attrs.field(factory=dict)
    warnings: list[str] = attrs.field(factory=list)
    _seen: dict[str, Place] = attrs.field(factory=dict)
    _twice: set[str] = attrs.field(factory=set)
    _files: set[str] = attrs.field(factory=set)
    _depth: int = 0
    _size: int = 0

    def file(self, path: str, included_from: Optional[Place]) -> None:
        if path in self._files:
            raise ConfigError(
                f"{included_from}: {printable(path)} is included a second time; {_CORRECT}"
            )
        if self._depth > _DEEPEST:
            raise ConfigError(
                f"{included_from}: expected at most {_DEEPEST} includes within one another; does a"
                " file include itself under another name?"
            )
        self._files.add(path)
        content = _contents(path, included_from)
        self._size += len(content)
        if self._size > _LONGEST:
            raise ConfigError(
                f"{included_from or printable(path)}: expected at most {_LONGEST} bytes in"
                " imapd.conf and all that it includes; is that the file you mean?"
            )
        self._depth += 1
        for number, line in _logical_lines(content.decode("utf-8", "surrogateescape")):
            self._line(line, Place(path, line=number))
        self._depth -= 1

    def _line(self, line: str, place: Place) -> None:
        line = line.strip(_BLANK)
        if not line or line.startswith("#"):
            return
        if len(line) > _LONGEST_OPTION:
            found = quote(line.encode("utf-8", "surrogateescape"))
            raise ConfigError(
                f"{place}: expected at most {_LONGEST_OPTION} bytes for one option, found {found};"
                " is a backslash at the end of a line too much?"
            )
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
        if name in self._seen and name not in self._twice:
            self._twice.add(name)
            self.warnings.append(
                f"{place}: option {name} was set in {self._seen[name]} already; this one counts"
                " here, but Cyrus does not start with such a file"
            )
        self._seen[name] = place
        self.options[name] = value


def _contents(path: str, included_from: Optional[Place]) -> bytes:
    """Read a file, and no more of it than `_Parser` can accept."""
    try:
        # A FIFO that nobody writes to must not hold the opening up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("not a regular file")
            return file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        by = f"{included_from} includes it: " if included_from else ""
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{by}{printable(path)}: cannot be read: {reason};"
            " name imapd.conf with -C, or the data with --db, --quota-output or --dump"
        ) from error


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with the number of their first; a backslash right before LF joins the next."""
    pieces: list[str] = []
    raw = text.split("\n")
    for number, line in enumerate(raw, 1):
        first = number - len(pieces)
        if line.endswith("\\") and number < len(raw):
            pieces.append(line[:-1])
        else:
            yield first, "".join((*pieces, line))
            pieces = []
