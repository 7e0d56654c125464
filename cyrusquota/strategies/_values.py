"""Values of a quota database, in both grammars, as Cyrus writes them and as it reads them."""

from __future__ import annotations

from typing import Optional, Union

from hypothesis import strategies as st

from cyrusquota.quota import Resource, Usage
from cyrusquota.strategies import text
from cyrusquota.strategies._figures import I64, NUMBERS, figures, resources, usage, usages, wrapped

#: A value, and the usage of each resource that it names.
ValueAndUsages = tuple[bytes, dict[Resource, Usage]]

_CODES = dict(zip((b"S", b"M", b"AS", b"NF"), Resource))
_MODSEQ = st.none() | st.integers(0, (1 << 64) - 1)


# The old grammar

_OLD_FIGURES = st.tuples(st.integers(0, I64 - 1), st.none() | st.integers(0, (1 << 31) - 1))
_OLD_BLANK = st.sampled_from([b" ", b"  ", b"\t", b"\n", b" \r\n"])


def _old() -> st.SearchStrategy[ValueAndUsages]:
    return _OLD_FIGURES.map(lambda pair: (text.old_value(*pair), usages([pair])))


@st.composite
def _odd_old(draw: st.DrawFn) -> ValueAndUsages:
    """Draw other blanks, signs, leading zeros, a number left over, several resources."""
    others = draw(st.lists(st.sampled_from(list(_CODES)[1:]), unique=True, max_size=3))
    words, found = list[bytes](), dict[Resource, Usage]()
    for code in (b"S", *others):
        pair = draw(figures)
        if code != b"S":
            words.append(draw(st.sampled_from([code, code.lower()])))
        for number in (pair[0], -1 if pair[1] is None else pair[1]):
            sign = draw(st.sampled_from([b"", b"+", b"0"])) if number >= 0 else b""
            words.append(sign + b"%d" % number)
        if draw(st.booleans()):
            # An interrupted `quota -f` of old left one behind.
            words.append(b"7")
        found[_CODES[code]] = usage(_CODES[code], pair)
    raw = b"".join(draw(_OLD_BLANK) + word for word in words)
    return raw[1:] if raw[:1] == b" " else raw, found


# The new grammar

_Tree = Union[bytes, "list[_Tree]"]
_ATOM = st.sampled_from(
    [b"0", b"5", b"007", b"+5", b"-1", b"1.5", b"0x10", b"NIL", b"S", b"x%y", b"1{2}"]
) | st.sampled_from(NUMBERS).map(lambda number: b"%d" % number)
_TREE: st.SearchStrategy[_Tree] = st.recursive(
    _ATOM, lambda inner: st.lists(inner, max_size=3), max_leaves=8
)
_PAIRS = st.lists(
    st.tuples(
        st.sampled_from([*_CODES, b"s", b"XX", b"MODSEQ", b"SCAN"]), st.lists(_TREE, max_size=3)
    ),
    max_size=6,
)
_BLANK = st.sampled_from([b" ", b"  ", b"\t", b"\n", b"\r\n", b" \r "])
_FORMS = st.sampled_from(["atom", "quoted", "literal", "literal+"])


def _new() -> st.SearchStrategy[ValueAndUsages]:
    scans = st.sampled_from([b"", b"MBOX {1+}\r\n) S 1"])
    return st.builds(
        lambda four, modseq, scan: (text.dlist(four, modseq, scan), usages(four)),
        *(resources, _MODSEQ, scans),
    )


@st.composite
def _odd_new(draw: st.DrawFn) -> ValueAndUsages:
    """Draw a dlist in one of its many spellings, with unknown and repeated keys."""
    pairs = draw(_PAIRS)

    def spelled(raw: bytes) -> bytes:
        form = draw(_FORMS)
        if form == "quoted":
            return b'"' + raw.replace(b"x", b"\\x") + b'"'
        if form.startswith("literal"):
            return b"{%d%b}\r\n%b" % (len(raw), b"+" if form.endswith("+") else b"", raw)
        return raw

    def node(tree: _Tree) -> bytes:
        if isinstance(tree, bytes):
            return spelled(tree)
        return b"(" + b"".join(draw(_BLANK) + node(item) for item in tree) + b")"

    raw = b"".join(
        draw(_BLANK) + key + draw(_BLANK) + b"(" + b" ".join(map(node, items)) + b")"
        for key, items in pairs
    )
    return b"%(" + raw + draw(st.sampled_from([b"", b" "])) + b")", _meaning(pairs)


def _meaning(pairs: list[tuple[bytes, list[_Tree]]]) -> dict[Resource, Usage]:
    """Return the usages: the first of each resource counts; no number below 2**64 is 0."""
    found: dict[Resource, Usage] = {}
    for key, items in pairs:
        if key in _CODES and _CODES[key] not in found:
            used = _number(items[0]) if items else 0
            limit = _number(items[1]) if len(items) > 1 else None
            found[_CODES[key]] = usage(_CODES[key], (used, limit))
    return found


def _number(tree: _Tree) -> int:
    if not isinstance(tree, bytes) or not tree.isdigit() or int(tree) >= 1 << 64:
        return 0
    return wrapped(int(tree))


#: What `values` knows, by name: the grammar up to Cyrus 2.4 and the one since 2.5, as Cyrus writes
#: them, and ("odd") as it merely reads them.
GRAMMARS = ("old", "new", "odd old", "odd new")
_BY_GRAMMAR = dict(zip(GRAMMARS, (_old(), _new(), _odd_old(), _odd_new())))


def values(grammar: Optional[str] = None) -> st.SearchStrategy[ValueAndUsages]:
    """Draw values of one of the `GRAMMARS`, each with the usage of the resources it names.

    By default those that Cyrus writes, old or new. A resource that a value does not name is
    unlimited.
    """
    return _BY_GRAMMAR["old"] | _BY_GRAMMAR["new"] if grammar is None else _BY_GRAMMAR[grammar]


def bad_values() -> st.SearchStrategy[bytes]:
    """Draw values that Cyrus calls badly formatted, or cut ones: nobody is over by these."""
    cut = st.tuples(_new(), st.floats(0, 1, exclude_max=True)).map(
        lambda drawn: drawn[0][0][: max(1, int(drawn[1] * len(drawn[0][0])))]
    )
    words = st.sampled_from([b"", b"x", b"5", b"5 ", b"five six", b"- 5", b"5 1 X 2 2", b"5 1 M 2"])
    return cut | words.filter(bool) | _old().map(lambda case: case[0].replace(b" ", b"/"))
