"""What the property tests draw from: random things, and a pool of known nasty ones."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.recorded_fixtures import FIXTURES

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


#: Where, and what is written there. The CRC32 of FF FF FF FF is just that: written over the
#: checksum of a tail and the start of the tail, it would prove itself.
EDITS = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=900),
        (st.binary(max_size=40) | st.integers(min_value=1, max_value=300).map(bytes)).filter(
            lambda put: b"\xff" * 4 not in put
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[int, bytes]], first: int = 0) -> bytes:
    """The data with edits, of which none is before `first`; its length stays."""
    size = len(data)
    for at, put in edits:
        at = first + at % (size - first)
        data = data[:at] + put + data[at + len(put) :]
    return data[:size]
