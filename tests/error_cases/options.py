"""The command line asks for something impossible."""

from __future__ import annotations

from typing import ContextManager
from unittest import mock

from click.exceptions import BadParameter

from cyrusquota.errors import OptionError
from tests.error_cases.case import ErrorCase, as_nobody

_FULL = b"user.jane\t2000 1\n"


def _root() -> ContextManager[object]:
    """Let the program believe that root runs it; it fails before it changes anything."""
    return mock.patch("os.geteuid", return_value=0)


CASES = (
    ErrorCase(
        "two sources",
        OptionError,
        "cyrusquota-export --db quotas.db --quota-output report.txt",
    ),
    ErrorCase(
        "an option for a file with an empty value",
        BadParameter,
        "cyrusquota-export --db ''",
    ),
    ErrorCase(
        "--backend without --db",
        OptionError,
        "cyrusquota-export --backend twoskip",
    ),
    ErrorCase(
        "--mailboxes and --no-mailboxes",
        OptionError,
        "cyrusquota-export --mailboxes mailboxes.db --no-mailboxes",
    ),
    ErrorCase(
        "--no-mailboxes with quota_use_conversations",
        OptionError,
        "cyrusquota-export -C imapd.conf --no-mailboxes",
        files={"imapd.conf": b"configdirectory: /x\nquota_use_conversations: yes\n"},
    ),
    ErrorCase(
        "a backend that does not exist",
        OptionError,
        "cyrusquota-export --db quotas.db --backend cdb",
        files={"quotas.db": b""},
    ),
    ErrorCase(
        "a page as JSON",
        OptionError,
        "cyrusquota report --dump - --html page --format json",
    ),
    ErrorCase(
        "a command with an open quote",
        OptionError,
        """cyrusquota-export --dump - -o map --on-change "'postmap" """,
    ),
    ErrorCase(
        "a command without words",
        OptionError,
        "cyrusquota-export --dump - -o map --on-change ' '",
    ),
    ErrorCase(
        "a bad size",
        OptionError,
        "cyrusquota-export --dump - --headroom lots",
    ),
    ErrorCase(
        "a bad reserve",
        OptionError,
        "cyrusquota-export --dump - --reserve lots",
    ),
    ErrorCase(
        "a reserve without a unit",
        OptionError,
        "cyrusquota-export --dump - --reserve 50",
    ),
    ErrorCase(
        "a bad file mode",
        BadParameter,
        "cyrusquota-export --dump - --mode rw",
    ),
    ErrorCase(
        "a bad change limit",
        OptionError,
        "cyrusquota-export --dump - -o map --max-change 20",
    ),
    ErrorCase(
        "an option without effect",
        OptionError,
        "cyrusquota-export --dump - --poll 2",
    ),
    ErrorCase(
        "an empty message",
        OptionError,
        "cyrusquota-export --dump - --message ''",
    ),
    ErrorCase(
        "--headroom for Postfix",
        OptionError,
        "cyrusquota-export --dump - --map-format postfix --headroom 50M",
    ),
    ErrorCase(
        "a user without a known domain",
        OptionError,
        "cyrusquota-export --dump - --key address",
        stdin=_FULL,
    ),
    ErrorCase(
        "--follow without a map",
        OptionError,
        "cyrusquota-export --follow",
    ),
    ErrorCase(
        "--follow with a dump",
        OptionError,
        "cyrusquota-export --follow -o map --dump -",
    ),
    ErrorCase(
        "an owner that does not exist",
        OptionError,
        "cyrusquota-export --dump - -o map --owner nosuchuser",
    ),
    ErrorCase(
        "a group that does not exist",
        OptionError,
        "cyrusquota-export --dump - -o map --group nosuchgroup",
    ),
    ErrorCase(
        "a user id above 32 bits",
        OptionError,
        "cyrusquota-export --dump - -o map --owner 99999999999",
    ),
    ErrorCase(
        "--service without an imapd.conf",
        OptionError,
        "cyrusquota-export --dump - --service lmtp",
    ),
    ErrorCase(
        "--user without root",
        OptionError,
        "cyrusquota-export --dump - --user 0",
        meanwhile=as_nobody,
    ),
    ErrorCase(
        "a user id without an account",
        OptionError,
        "cyrusquota-export --dump - --user 4000000000",
        meanwhile=_root,
    ),
)
