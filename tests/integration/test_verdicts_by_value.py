"""Whom we call over quota is whom the real lmtpd and smmapd refuse, value by value.

The values go straight into the quota database, as an administrator's mistake or an old version
would leave them, and each daemon is asked anew about each.
"""

from __future__ import annotations

from typing import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cyrusquota
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy

from .cyrus import Cyrus

pytestmark = pytest.mark.integration

USERS = [f"u{number:02}" for number in range(40)]
#: What lmtpd answers a recipient whose root has a value it cannot read.
UNREADABLE = 451

KIB = 1024
_EDGES = [0, 1, 9, 10, 11, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**54, 2**63 - 1, 2**63]
_LIMITS = st.sampled_from([0, 1, 10, 2**31, 2**32, 2**53 - 1, 2**53, 2**54 + 1, 2**63 - 1])


@st.composite
def _canonical(draw: st.DrawFn) -> bytes:
    """A value as Cyrus writes it, the use of each resource near its limit."""
    parts = []
    for code, unit in ((b"S", KIB), (b"M", 1), (b"AS", KIB), (b"NF", 1)):
        limit = draw(st.none() | _LIMITS)
        near = (limit or 10) * unit + draw(st.integers(-2, 2))
        used = draw(st.sampled_from([0, 5, near, near, 2**64 - 5]))
        shown = b"%d" % (used % 2**64)
        parts.append(b"%b (%b)" % (code, shown if limit is None else b"%b %d" % (shown, limit)))
    tail = draw(st.sampled_from([b"", b" MODSEQ 7", b" SCAN %(MBOX user.u00 S 1 M 1 AS 0 NF 1)"]))
    return b"%%(%b%b)" % (b" ".join(parts), tail)


_NUMBER = st.sampled_from(
    [b"%d" % edge for edge in _EDGES]
    + [
        b"+5",
        b"-5",
        b"-1",
        b"1.5",
        b"0x10",
        b"NIL",
        b"007",
        b'"11"',
        b"{2+}\r\n11",
        b"(3)",
        b"%(a 3)",
    ]
    + [b"18446744073709551615", b"18446744073709551616", b"99999999999999999999999", b"abc", b'""']
)


#: What the parser of lists reads otherwise than one would guess: a percent sign where a key should
#: be, 0xFF where an item starts, NUL within an item, line breaks behind a backslash. (Other bytes
#: above 0x7F where an item starts make lmtpd 3.6.1 drop the connection.)
_QUIRKS = st.sampled_from(
    [
        b"%(S 5)",
        b"%S (9 1)",
        b"%",
        b"(",
        b"\xff",
        b"\xff ",
        b" \xff",
        b"\xff\xff",
        b"\xff\t",
        b"\xff\v",
        b"\0",
        b"S\0x (5 1)",
        b'"S\0x" (5 1)',
        b'"\\\n" (9)',
        b'"\n" (9)',
        b"\v",
        b"\f",
        b"\\Seen (9)",
        b"{1+}\r\nS (99999 1)",
        b"{2+}\r\nS\0 (99999 1)",
        b"x\xe9y (9)",
        b"%{x",
        b"NIL",
        b"{ ",
        b'"',
    ]
)


@st.composite
def _quirky(draw: st.DrawFn) -> bytes:
    """A canonical value with up to two quirks put between its items, or into its numbers."""
    value = draw(_canonical())
    for _ in range(draw(st.integers(1, 2))):
        quirk = draw(_QUIRKS)
        edges = [at for at in range(2, len(value)) if value[at : at + 1] in b" ()"]
        at = draw(st.sampled_from(edges) | st.integers(2, len(value)))
        value = value[: at + draw(st.integers(0, 1))] + quirk + value[at:]
    return value


@st.composite
def _odd(draw: st.DrawFn) -> bytes:
    """A value of the new grammar that Cyrus would not write itself."""
    blank = draw(st.sampled_from([b" ", b"  ", b"\t", b" \t "]))
    items = []
    for _ in range(draw(st.integers(0, 5))):
        code = draw(st.sampled_from([b"S", b"M", b"AS", b"NF", b"s", b"X", b'"S"', b"MODSEQ"]))
        numbers = draw(st.lists(_NUMBER, max_size=3))
        node = b"(%b)" % blank.join(numbers)
        items.append(blank.join([code, draw(st.sampled_from([node, node, node, b"5", b"()"]))]))
    value = b"%%(%b)" % blank.join(items)
    return draw(st.sampled_from([value, value, value, value[:-1], value + b" ", value[:-4]]))


@st.composite
def _old(draw: st.DrawFn) -> bytes:
    """A value of the old grammar, right or wrong."""
    plain = st.sampled_from(
        [
            b"0",
            b"5",
            b"-1",
            b"-17",
            b"10",
            b"10240",
            b"10241",
            b"2048\r",
            b"+7",
            b"\v9999999",
            b"\f5",
        ]
    )
    number = plain | st.sampled_from([b"%d" % edge for edge in _EDGES]) | st.just(b"x1")
    words = [draw(number), draw(number)]
    for _ in range(draw(st.integers(0, 2))):
        words += draw(st.sampled_from([[], [b"999"]]))
        words.append(draw(st.sampled_from([b"S", b"M", b"AS", b"nf", b"XX"])))
        words += [draw(number), draw(number)]
    # Cyrus reads such values to the next NUL, past their end where the record is not padded; a
    # number does not mind what follows it, a blank would make a word of it.
    return draw(st.sampled_from([b" ", b"  ", b"\t"])).join(words).rstrip()


_NASTY = st.sampled_from(
    [
        b"",
        b"garbage",
        b"5",
        b"%",
        b"%(",
        b"%()",
        b"%(S (5 1)) ",
        b"%(S (999999 1) M (1",
        b"5 1 XX 3 4",
    ]
)
VALUES = st.one_of(_canonical(), _quirky(), _quirky(), _odd(), _old(), _NASTY)


@pytest.fixture(scope="module")
def cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({"quota_db": "twoskip"}) as server:
        server.start()
        for user in USERS:
            server.create_user(user)
            server.set_quota(f"user.{user}", 10)
        yield server


def _unreadable(problems: list[cyrusquota.CyrusQuotaError]) -> set[str]:
    """The users whose root Cyrus cannot read, by what was reported of them."""
    roots = set()
    for problem in problems:
        assert isinstance(problem, cyrusquota.BadValue)
        assert problem.place.key is not None
        roots.add(problem.place.key.decode().partition(".")[2])
    return roots


def _refused(cyrus: Cyrus, policy: Policy) -> tuple[set[str], set[str]]:
    """Whom we list, and whose value we report as a problem."""
    conf = cyrusquota.load(cyrus.conf)
    source = cyrusquota.from_config(conf)
    problems: list[cyrusquota.CyrusQuotaError] = []
    found = evaluator.evaluate_roots(source.roots(problems.append), Query(source.naming, policy))
    return {verdict.recipient.local for verdict in found}, _unreadable(problems)


@given(values=st.lists(VALUES, min_size=len(USERS), max_size=len(USERS)))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_value_is_judged_as_the_daemons_judge_it(cyrus: Cyrus, values: list[bytes]) -> None:
    roots = {f"user.{user}".encode(): value for user, value in zip(USERS, values)}
    cyrus.store(cyrus.lib / "quotas.db", "twoskip", roots)
    by_user = dict(zip(USERS, values))

    for strict, policy in ((False, LMTPD), (True, LMTPD_STRICT)):
        listed, unreadable = _refused(cyrus, policy)
        replies = dict(zip(USERS, cyrus.lmtp_rcpts(USERS, strict=strict)))
        for user, reply in replies.items():
            expected = 452 if user in listed else 250
            if reply.code == UNREADABLE:
                expected = UNREADABLE if user in unreadable and user not in listed else expected
            assert reply.code == expected, (policy.name, user, by_user[user], reply)

    listed, unreadable = _refused(cyrus, SMMAPD)
    for user, answer in zip(USERS, cyrus.smmap(USERS)):
        expected_answer = "TEMP Over quota" if user in listed else f"OK {user}"
        if answer.startswith("PERM"):
            assert user in unreadable and user not in listed, (by_user[user], answer)
        else:
            assert answer == expected_answer, (by_user[user], answer)
