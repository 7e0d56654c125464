"""Errors of `cyrusquota notify`."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Iterator

from cyrusquota.errors import ConfigError, DeliveryError, MapLocked, OptionError, StateError
from tests.error_cases.case import ErrorCase, locked, open_to_all

_FILES = {
    "dump": b"user.jane\t2000 1\n",
    "mailboxes": b"user.jane\t0 default jane\tlrswipcda\t\n",
}
_NOTIFY = "cyrusquota notify --dump dump --mailboxes mailboxes --state state"
_SEND = f"{_NOTIFY} --domain example.org --lmtp /no/such/socket"
_TEXT = b"Subject: full\n\nYour mailbox is full.\n"


@contextlib.contextmanager
def _of_another_program() -> Iterator[None]:
    with contextlib.closing(sqlite3.connect("state")) as file:
        file.execute("CREATE TABLE songs (title TEXT)")
    yield


def _usage(title: str, wrong: str) -> ErrorCase:
    return ErrorCase(title, OptionError, f"cyrusquota notify {wrong}")


def _template(title: str, text: bytes) -> ErrorCase:
    return ErrorCase(
        title,
        ConfigError,
        f"{_NOTIFY} --dry-run --at full --templates letters",
        files={**_FILES, "letters/full.txt": text},
    )


CASES = (
    _usage("a threshold that is no percentage", "--at lots"),
    _usage("a time that is no duration", "--repeat soon"),
    _usage("a sender without an address", "--from 'Mail service'"),
    _usage("a place that is no socket", "--lmtp here"),
    _usage("two ways to deliver", "--lmtp /socket --sendmail sendmail"),
    _usage("letters without a list of mailboxes", "--dump -"),
    _usage("letters without a way to deliver", "--dump - --mailboxes mailboxes"),
    ErrorCase(
        "letters to users without a domain",
        OptionError,
        "cyrusquota notify --dump dump --mailboxes mailboxes --state state --dry-run",
        files=_FILES,
    ),
    ErrorCase(
        "a setting that is not for a domain",
        ConfigError,
        "cyrusquota notify --settings settings",
        files={"settings": b"[notify example.org]\nat = full\n"},
    ),
    ErrorCase(
        "a template that is not there",
        ConfigError,
        f"{_NOTIFY} --dry-run --at 50% --templates letters",
        files={**_FILES, "letters/full.txt": _TEXT},
    ),
    ErrorCase(
        "a template that is a directory",
        ConfigError,
        f"{_NOTIFY} --dry-run --at full --templates letters",
        files={**_FILES, "letters/full.txt": None},
    ),
    _template("a template in Latin-1", b"Subject: voll\n\nIhr Postfach ist f\xfcr heute voll.\n"),
    _template("a template without headers", b"Your mailbox is full.\n"),
    _template("a template without a subject", b"Reply-To: help@example.org\n\nFull.\n"),
    _template(
        "a template with a header on two lines", b"Subject: Your mailbox\n is full\n\nFull.\n"
    ),
    _template("a template with a date", b"Subject: full\nDate: today\n\nFull.\n"),
    _template("a template with two subjects", b"Subject: full\nSubject: full\n\nFull.\n"),
    _template("a template with an unknown variable", b"Subject: full\n\nIt has $quota.\n"),
    _template("a template with a price", b"Subject: full\n\nMore costs $5.\n"),
    ErrorCase(
        "no directory for the state",
        StateError,
        f"{_SEND} --state gone/state",
        files=_FILES,
    ),
    ErrorCase(
        "a trial with a directory as the state",
        StateError,
        f"{_SEND} --dry-run",
        files={**_FILES, "state": None},
    ),
    ErrorCase("a damaged state", StateError, _SEND, files={**_FILES, "state": b"no database" * 99}),
    ErrorCase(
        "the state of another program",
        StateError,
        _SEND,
        files=_FILES,
        meanwhile=_of_another_program,
    ),
    ErrorCase(
        "a state that any user may replace",
        StateError,
        _SEND,
        files=_FILES,
        meanwhile=open_to_all,
    ),
    ErrorCase(
        "two runs at once",
        MapLocked,
        _SEND,
        files=_FILES,
        meanwhile=lambda: locked(".state.lock"),
    ),
    ErrorCase("no lmtpd", DeliveryError, _SEND, files=_FILES),
    ErrorCase(
        "no sendmail program",
        DeliveryError,
        f"{_NOTIFY} --domain example.org --sendmail ./sendmail",
        files=_FILES,
    ),
)
