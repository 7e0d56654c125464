"""What the property tests draw from: random things, and a pool of known nasty ones."""

from __future__ import annotations

from typing import Optional

from hypothesis import strategies as st

from tests import writers_text
from tests.recorded import FIXTURES
from tests.writers_text import Figures, Row

I64 = 1 << 63
NUMBERS = (0, 1, 9, 10, 1023, 1024, 1025, 1 << 31, 1 << 32, 1 << 52, 1 << 53, 1 << 54, I64 - 1)

#: Bytes that one of the parsers has a rule for.
NASTY = (
    b"",
    b"\0",
    b"\n",
    b"\xff",
    b"\xff\xff",
    b"%",
    b"%(",
    b"%()",
    b"%(S (1 1) M (2) AS (0) NF (1) MODSEQ 1)",
    b"%(S (18446744073709551615 18446744073709551615))",
    b"%(S (18446744073709551616 -1))",
    b"%(S (1 9007199254740992))",
    b'%(S (1 1) SCAN %(MBOX "a\\"b" S 1))',
    b"%(S ({3}\r\n123 {1+}\r\n4))",
    b"%(S ({999999999999999999}\r\n",
    b"5 1",
    b"5\n1\n",
    b"5 1 7 M 1 1 nf 2 2",
    b"9" * 5000 + b" " + b"9" * 5000,
    b"user.jane\t5 1\n",
    b"dXNlci5qYW5l\tNSAx\n",
    b"a\xff\x89b\t5 1\n",
    b"   Quota  % Used    Used Root\n",
    b"   Quota   % Used     Used Root\n",
    b"   Quota   % Used     Used             Resource Root\n",
    b"      10      100       10              STORAGE user/jane\n",
    b"       0                 7              MESSAGE (null)\n",
    b"                         0 X-ANNOTATION-STORAGE 1 2 3\n",
    b"                         1              MAILBOX \xfc\n",
    b"user.a: STORAGE usage was 1, now 2\n",
    b"user.a: quota root (none) --> user.a\n",
    b"user.a: removed\n",
    b'{"_repairs": ["x"], "user/jane": {"STORAGE": {"used": 1, "limit": 2}}}',
    b'{"a": {"STORAGE": {"used": -9223372036854775808}}}',
    b'{"a": {"STORAGE": {"used": 1e999, "limit": NaN}}}',
    b'{"\\udcff": {}, "\\ud800": {}}',
    b"{" * 2000,
    b'{"a":' * 2000,
    b"configdirectory: /x\n",
    b"virtdomains: on\\\n\\\n\r\n",
    b"@include: /nonexistent\n",
    b"quota_db_path: {configdirectory}\n",
    b"# \\\nx: y\n",
    b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0",
    (FIXTURES / "history" / "twoskip" / "05-mixed.db").read_bytes(),
)

nasty = st.sampled_from(NASTY)
#: Anything: random bytes, nasty ones, and any row of both.
anything = st.one_of(
    st.binary(max_size=300),
    nasty,
    st.lists(nasty | st.binary(max_size=20), max_size=8).map(b"".join),
)

signed = st.sampled_from(NUMBERS) | st.integers(-I64, I64 - 1)
used = signed
limit: st.SearchStrategy[Optional[int]] = (
    st.none() | st.sampled_from(NUMBERS) | st.integers(0, I64 - 1)
)
figures: st.SearchStrategy[Figures] = st.tuples(used, limit)
resources = st.tuples(figures, figures, figures, figures)

NAMES = (
    "user.jane",
    "user.jane^doe",
    "user.jane.my folder",
    "user.123",
    "123",
    "1 2 3",
    " ",
    "       0                 7              STORAGE x",
    "user.caf\u00e9",
    "user.x: removed",
    "example.org!user.max",
    "example.org!",
    "removed",
    "QUOTA",
)
#: Names as they are both inside Cyrus and in its reports: no slash and no address.
utf8_name = st.sampled_from(NAMES) | st.text(min_size=1, max_size=40).map(
    lambda name: name.translate(dict.fromkeys(map(ord, "/@\n\0"), "x"))
).filter(lambda name: name not in ("(null)", "_repairs"))
raw_name = st.sampled_from([name.encode() for name in NAMES]) | st.binary(
    min_size=1, max_size=40
).map(lambda name: name.translate(bytes.maketrans(b"/@\n\0", b"xxxx"))).filter(
    lambda name: name != b"(null)"
)
rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(raw_name, resources), max_size=6, unique_by=lambda row: row[0]
)
utf8_rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(utf8_name.map(str.encode), resources), max_size=6, unique_by=lambda row: row[0]
)

#: Values as Cyrus writes them.
canonical = st.builds(
    writers_text.dlist, resources, modseq=st.none() | st.integers(0, (1 << 64) - 1)
)
old_values = st.builds(
    writers_text.old_value, st.integers(0, I64 - 1), st.none() | st.integers(0, (1 << 31) - 1)
)
values = canonical | old_values


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes], alphabet: bytes = b"") -> bytes:
    """An original with a few bytes changed, removed or added."""
    data = bytearray(draw(originals))
    byte = st.sampled_from(alphabet) if alphabet else st.integers(0, 255)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = at + draw(st.integers(0, 2))
        data[at:end] = bytes(draw(st.lists(byte, max_size=2)))
    return bytes(data)
