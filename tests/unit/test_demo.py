"""What `make demo` shows: the users that tests/fixtures/README.md tells of."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cyrusquota import cyrusdb

from .programs import exporter, program

PROJECT = Path(__file__).resolve().parents[2]
DATABASE = "tests/fixtures/demo/quotas.db"

#: As Cyrus 3.6.1 printed them with `cyr_dbtool ... show`: bytes used, limit in KiB.
RECORDS = """\
example.net!user.heidi	%(S (734003200 1048576) M (7702) AS (0) NF (5) MODSEQ 15981)
example.org!user.alice	%(S (3435973837 5242880) M (41207) AS (0) NF (38) MODSEQ 90134)
example.org!user.bob	%(S (1073750016 1048576) M (9120) AS (0) NF (7) MODSEQ 20417)
example.org!user.carol	%(S (536870912 2097152) M (5310) AS (0) NF (12) MODSEQ 11806)
example.org!user.dave	%(S (5314180710 5242880) M (60233) AS (0) NF (21) MODSEQ 130552)
example.org!user.erin	%(S (2147527000 2097152) M (18044) AS (0) NF (9) MODSEQ 37260)
example.org!user.frank	%(S (7623567770) M (88310) AS (0) NF (54) MODSEQ 201339)
example.org!user.grace	%(S (0 1048576) M (0) AS (0) NF (1) MODSEQ 2)
"""
#: How full each is; frank has no limit.
USE = {
    "alice@example.org": "64%",
    "bob@example.org": "101% over",
    "carol@example.org": "25%",
    "dave@example.org": "98%",
    "erin@example.org": "101% over",
    "frank@example.org": "-",
    "grace@example.org": "0%",
    "heidi@example.net": "68%",
}
TEXT = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
#: Those for whom lmtpd answered 452 to RCPT.
ENTRIES = [f"bob@example.org: :defer: {TEXT}", f"erin@example.org: :defer: {TEXT}"]


def test_the_database_has_the_records_that_cyrus_printed() -> None:
    with cyrusdb.open(PROJECT / DATABASE) as database:
        records = {key.decode(): value.decode() for key, value in database}
    assert records == dict(line.split("\t") for line in RECORDS.splitlines())


def _demonstrated(command: str) -> list[str]:
    """Return the arguments that the Makefile's `demo` gives to a command."""
    makefile = (PROJECT / "Makefile").read_text()
    (example,) = re.findall(r"^EXAMPLE = (.*)$", makefile, re.MULTILINE)
    (arguments,) = re.findall(rf"^\t\$\(BIN\)/{command} (.*EXAMPLE.*)$", makefile, re.MULTILINE)
    assert example == DATABASE
    return shlex.split(arguments.replace("$(EXAMPLE)", example))


def test_the_demo_lists_every_user(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    ran = program(capfdbinary, monkeypatch)(*_demonstrated("cyrusquota"))
    rows = [line.split() for line in ran.out.splitlines()[1:]]
    use = {row[-1]: " ".join([row[0], *(word for word in row if word == "over")]) for row in rows}
    assert (ran.status, use, ran.err) == (0, USE, "")


def test_the_demo_defers_mail_for_those_whom_lmtpd_refused_and_warns_of_nothing(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    ran = exporter(capfdbinary, monkeypatch)(*_demonstrated("cyrusquota-export"))
    entries = [line for line in ran.out.splitlines() if not line.startswith("#")]
    assert (ran.status, entries, ran.err) == (0, ENTRIES, "")
