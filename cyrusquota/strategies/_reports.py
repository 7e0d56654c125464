"""Reports of `quota` in each version, and dumps of databases."""

from __future__ import annotations

from typing import Callable, Mapping, Optional

from hypothesis import strategies as st

from cyrusquota.quota import QuotaRoot, Usage
from cyrusquota.strategies import text
from cyrusquota.strategies._figures import wrapped
from cyrusquota.strategies._roots import raw_name, records, rows, text_of, utf8_rows
from cyrusquota.strategies.text import UNITS, Figures, Layout, Row

ReportAndRoots = tuple[bytes, list[QuotaRoot]]
DumpAndRecords = tuple[bytes, dict[bytes, bytes]]

_UNUSED: Figures = (0, None)
#: Up to 2.4 there was only storage, with limits of 32 bits.
_old_rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(
        raw_name,
        st.tuples(
            st.tuples(st.integers(0, 1 << 62), st.none() | st.integers(0, (1 << 31) - 1)),
            *(st.just(_UNUSED), st.just(_UNUSED), st.just(_UNUSED)),
        ),
    ),
    max_size=6,
)


def in_text(unit: int, figures: Figures) -> Usage:
    """Return the usage that two columns of text mean, which have whole KiB only."""
    used, limit = figures
    most: Optional[int] = None if limit is None else wrapped(limit * unit)
    return Usage(text.toward_zero(used, unit) * unit, most, exact=unit == 1)


def in_json(unit: int, figures: Figures) -> Usage:
    """Return the usage that a member of `quota -J` means, which does not print a limit of 0."""
    used, limit = figures
    return Usage(used, wrapped(limit * unit) if limit else None)


def _old(layout: Layout) -> st.SearchStrategy[ReportAndRoots]:
    def printed(drawn: list[Row]) -> ReportAndRoots:
        return text.old_report(layout, drawn), [
            QuotaRoot(text_of(name), storage=in_text(UNITS[0], storage))
            for name, (storage, *_) in drawn
        ]

    return _old_rows.map(printed)


def _new(words: tuple[bytes, ...]) -> st.SearchStrategy[ReportAndRoots]:
    def printed(drawn: list[Row]) -> ReportAndRoots:
        return text.report(drawn, words), [
            QuotaRoot(text_of(name), *map(in_text, UNITS, four)) for name, four in drawn
        ]

    return rows.map(printed)


def _json(words: tuple[bytes, ...]) -> st.SearchStrategy[ReportAndRoots]:
    def printed(drawn: list[Row], indent: Optional[int]) -> ReportAndRoots:
        return text.json_report(drawn, words, indent), [
            QuotaRoot(text_of(name), *map(in_json, UNITS, four)) for name, four in drawn
        ]

    return st.builds(printed, utf8_rows, st.sampled_from([None, 0, 2]))


#: What `reports` knows: the first version of Cyrus that prints so, with -J for JSON.
REPORTS = ("2.2", "2.3", "2.5", "3.10", "3.0 -J", "3.10 -J")
_BY_VERSION = dict(
    zip(
        REPORTS,
        (
            *(_old(text.LAYOUT_2_2), _old(text.LAYOUT_2_3)),
            *(_new(text.WORDS_2_5), _new(text.WORDS_3_10)),
            *(_json(text.WORDS_2_5), _json(text.WORDS_3_10)),
        ),
    )
)


def reports(version: Optional[str] = None) -> st.SearchStrategy[ReportAndRoots]:
    """Draw what `quota` prints in one of the `REPORTS`, with the quota roots in it.

    "2.3" is for 2.4 too, and "2.5" for all up to 3.8. The usage of storage in text is whole KiB,
    cut toward zero, and not `exact`; -J leaves limits of 0 out. By default, of any version.
    """
    return st.one_of(*_BY_VERSION.values()) if version is None else _BY_VERSION[version]


#: What `dumps` knows: `cyr_dbtool ... show`, with -b (3.13), a flat file, and BerkeleyDB's db_dump.
DUMPS = ("show", "show -b", "flat", "db_dump", "db_dump -p")
_WRITERS: Mapping[str, Callable[[Mapping[bytes, bytes]], bytes]] = dict(
    zip(DUMPS, (text.show, text.show_base64, text.flat, text.db_dump, text.db_dump_p))
)


def dumps(
    form: Optional[str] = None, contents: Optional[st.SearchStrategy[dict[bytes, bytes]]] = None
) -> st.SearchStrategy[DumpAndRecords]:
    """Draw a dump in one of the `DUMPS`, with the records in it; by default in any of them.

    `contents` may draw other records than those of a quota database. In the output of `show` a TAB
    in a key, a line break, a CR at the end, and in some cases a byte 0xFF are ambiguous, so records
    with these are left out there.
    """
    forms = st.sampled_from(DUMPS) if form is None else st.just(form)

    def printed(form: str, drawn: dict[bytes, bytes]) -> DumpAndRecords:
        if form == "show":
            drawn = {
                key: value
                for key, value in drawn.items()
                if not set(key) & set(b"\t\n\xff")
                and not set(value) & set(b"\n\xff")
                and not value.endswith(b"\r")
            }
        return _WRITERS[form](drawn), drawn

    return st.builds(printed, forms, records() if contents is None else contents)
