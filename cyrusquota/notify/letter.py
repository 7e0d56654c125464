"""Make letters from templates: files with headers, a blank line, and text, all in UTF-8.

A template is checked as a whole when it is read, so that a mistake is found before anything is
sent. What a program has to know about a letter (`_OWN`) is not up to the template.
"""

from __future__ import annotations

import email.policy
import re
import string
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from importlib import resources
from pathlib import Path
from typing import Iterable, Iterator, Mapping, Optional

import attrs

from cyrusquota.cyrus.names import Recipient, ascii_lower
from cyrusquota.display import sizes
from cyrusquota.errors import ConfigError, OptionError, printable
from cyrusquota.notify.thresholds import Standing, Threshold
from cyrusquota.quota import Resource

VARIABLES = ("user", "address", "used", "limit", "percent", "left", "resource")

#: Headers that every letter has, or must not have.
_OWN = (
    *("from", "sender", "to", "cc", "bcc", "date", "message-id", "auto-submitted", "return-path"),
    *("mime-version", "content-type", "content-transfer-encoding"),
)
_HEADER = re.compile(r"([!-9;-~]+):[ \t]*(.*?)[ \t]*")
_ADDRESS = re.compile(
    r"""(?:"?(?P<name>[^"<>]*?)"?[ ]*<)?(?P<address>[!#-'*+\-./-9=?A-Z^-~]+@[A-Za-z0-9.-]+)>?"""
)
#: 8-bit text is not for every server.
_POLICY = email.policy.SMTP.clone(cte_type="7bit")
_WORDS = {
    Resource.STORAGE: "storage",
    Resource.MESSAGE: "messages",
    Resource.ANNOTATION_STORAGE: "annotations",
    Resource.MAILBOX: "folders",
}


def sender(given: str) -> Address:
    """Return the sender that `jane@example.org` or `Jane <jane@example.org>` means.

    Raises `OptionError` for anything else.
    """
    match = _ADDRESS.fullmatch(given)
    if match is None or not given.isprintable() or given.endswith(">") != ("<" in given):
        raise OptionError(
            f"--from: expected an address, or a name and <address>, found {printable(given)!r}"
        )
    local, _, domain = match["address"].rpartition("@")
    return Address(match["name"] or "", local, domain)


def values(standing: Standing, address: str) -> dict[str, str]:
    """Return the values of the variables for a user; sizes are for people."""
    kind, usage = standing.resource, standing.usage
    limit = usage.limit or 0
    return {
        "user": standing.recipient.local,
        "address": address,
        "used": sizes.figure(kind, usage.used),
        "limit": sizes.figure(kind, limit),
        "percent": sizes.percent(usage),
        "left": sizes.figure(kind, max(0, limit - usage.used)),
        "resource": _WORDS[kind],
    }


@attrs.frozen
class Template:
    """The headers and the text of a letter, with variables."""

    headers: tuple[tuple[str, str], ...]
    text: str

    def letter(
        self,
        values: Mapping[str, str],
        to: Recipient,
        *,
        by: Optional[Address],
        message_id: str,
        date: int,
    ) -> bytes:
        """Return the letter to a user, by `by` or else by the postmaster of their domain."""
        domain = to.domain or ""
        letter = EmailMessage(_POLICY)
        letter["From"] = by or Address("", "postmaster", domain)
        letter["To"] = Address("", to.local, domain)
        for name, value in self.headers:
            letter[name] = string.Template(value).substitute(values)
        letter["Date"] = formatdate(date)
        letter["Message-ID"] = message_id
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(string.Template(self.text).substitute(values), charset="utf-8")
        return letter.as_bytes()


@attrs.frozen
class Style:
    """The sender of letters, None for the postmaster of the user's domain, and the templates."""

    by: Optional[Address]
    templates: Mapping[Threshold, Template]

    @classmethod
    def of(
        cls, by: Optional[Address], directory: Optional[str], thresholds: Iterable[Threshold]
    ) -> Style:
        """Return the style with the templates in `directory`; raise what `template` does."""
        return cls(by, {one: template(directory, one.name) for one in thresholds})


@attrs.frozen
class Stationery:
    """Writes the letters to users.

    `styles` has that of some domains, `usual` is for the others. `domain` is that of users whose
    address has none.
    """

    usual: Style
    styles: Mapping[str, Style]
    domain: Optional[str] = None

    def address(self, standing: Standing) -> Recipient:
        """Return the address of a user; raise `OptionError` where no domain is known."""
        to = standing.recipient.within(self.domain)
        if to.domain is None:
            raise OptionError(
                f"no domain is known for {standing.user!r}, and so no address to write to; give"
                " --domain"
            )
        return to

    def letter(
        self, standing: Standing, threshold: Threshold, *, message_id: str, date: int
    ) -> bytes:
        """Return the letter that tells a user of `threshold`."""
        to = self.address(standing)
        style = self.styles.get(ascii_lower(to.domain or ""), self.usual)
        return style.templates[threshold].letter(
            values(standing, str(to)), to, by=style.by, message_id=message_id, date=date
        )


def template(directory: Optional[str], name: str) -> Template:
    """Read the template `name` in `directory`, or the one that is shipped.

    Raises `ConfigError` for one that is missing, or has a mistake.
    """
    file = f"{name}.txt"
    shipped = resources.files("cyrusquota.notify") / "templates"
    where = str(shipped / file) if directory is None else str(Path(directory) / file)
    try:
        content = (shipped / file if directory is None else Path(where)).read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{printable(where)}: there is no such template; write it, in a directory of your own"
            " with copies of those that are shipped, and name that with --templates"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{printable(where)}: cannot be read: {reason}; check the template, and --templates"
        ) from None
    return _parsed(content, printable(where))


def _parsed(content: bytes, where: str) -> Template:
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        at = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}, line {at}: expected UTF-8; save the file as UTF-8") from None
    for number, line in enumerate(lines, 1):
        _check_variables(line, f"{where}, line {number}")
    end = lines.index("") if "" in lines else len(lines)
    headers = tuple(_headers(lines[:end], where))
    if "subject" not in {name.lower() for name, _ in headers}:
        raise ConfigError(
            f"{where}, line 1: expected headers with a Subject, then an empty line, then the text"
        )
    return Template(headers, "\n".join(lines[end + 1 :]))


def _headers(lines: list[str], where: str) -> Iterator[tuple[str, str]]:
    known = set[str]()
    for number, line in enumerate(lines, 1):
        match = _HEADER.fullmatch(line) if line.isprintable() else None
        if match is None:
            raise ConfigError(
                f"{where}, line {number}: expected a header on one line, such as `Subject: Your"
                " mailbox is full`; an empty line ends the headers"
            )
        name = match[1].lower()
        if name in _OWN or name in known:
            why = "is set by cyrusquota" if name in _OWN else "is there twice"
            raise ConfigError(f"{where}, line {number}: {match[1]} {why}; remove it here")
        known.add(name)
        yield match[1], match[2]


def _check_variables(line: str, where: str) -> None:
    for match in string.Template.pattern.finditer(line):
        name = match["named"] or match["braced"]
        if match["escaped"] is None and name not in VARIABLES:
            found = f"${name}" if name else "a $ without a name"
            raise ConfigError(
                f"{where}: unknown variable, {printable(found)}; there are"
                f" {', '.join(f'${known}' for known in VARIABLES)}, and $$ is a dollar sign"
            )
