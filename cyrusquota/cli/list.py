"""cyrusquota list: list the quota roots of a source, for people and programs."""

from __future__ import annotations

import sys
from operator import itemgetter
from typing import Callable, Iterable, Iterator, Optional, Sequence, Union

import attrs
import click

from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.list_formats import (
    ColumnsFormat,
    CsvFormat,
    EvaluatedRoot,
    JsonLinesFormat,
    ListFormat,
    TableFormat,
)
from cyrusquota.cli.option_types import percent
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.cli.progress import progress
from cyrusquota.cli.root_filter import RootFilter, Unmatched
from cyrusquota.cli.run import complain
from cyrusquota.cli.scan import enforced
from cyrusquota.cli.terminal import Terminal, terminal
from cyrusquota.cyrus.names import Naming, domain_of
from cyrusquota.display.sizes import Unit
from cyrusquota.parse import columns as parse_columns
from cyrusquota.parse import value
from cyrusquota.parse.prefilter import Prefilter
from cyrusquota.publish.privileges import reading_as
from cyrusquota.quota import QuotaRoot
from cyrusquota.site.source import Batch, Counted
from cyrusquota.verdicts import selection
from cyrusquota.verdicts.policies import Reserve
from cyrusquota.verdicts.summary import fullest, near_limit

#: Lines that are written at once.
_BATCH = 200

#: What roots are sorted by, ascending. It has to be small: there may be a million of them.
SortKey = Callable[[EvaluatedRoot], "Union[float, tuple[str, str]]"]
#: More than can be used.
_NEVER = float(1 << 64)


def _by_use(evaluated: EvaluatedRoot) -> float:
    """Return the key of the fullest first; roots without a limit come last, by usage."""
    full = fullest(evaluated.enforced)
    return 1 - evaluated.enforced.storage.used / _NEVER if full is None else -full.fraction


def _by_name(evaluated: EvaluatedRoot) -> tuple[str, str]:
    return domain_of(evaluated.root.name) or "", evaluated.root.name


_SORT_KEYS: dict[str, Optional[SortKey]] = {"source": None, "use": _by_use, "name": _by_name}
_FORMATS = ("table", "csv", "jsonl")
_UNITS = tuple(unit.value for unit in Unit)


_shown, _written = under(Heading.ROOTS), under(Heading.WRITTEN)


@click.command(
    "list",
    cls=Command,
    examples=(
        Example(
            "Show the roots that are over quota, the fullest first",
            "cyrusquota list --over --sort use",
        ),
        Example("Show the roots of some users", "cyrusquota list 'j*@example.org'"),
        Example("Give every quota root to another program", "cyrusquota list --format jsonl"),
    ),
)
@source_options
@_shown("--over", is_flag=True, help="Show only roots that are over in some resource.")
@_shown(
    "--near",
    metavar="PERCENT",
    callback=percent,
    help="Show only roots that are over, that use at least this percentage of a limit (90% or 90),"
    " or that have less than --reserve left.",
)
@_shown(
    "--domain",
    metavar="DOMAIN",
    multiple=True,
    help="Show only roots in this domain (repeatable). Names without a domain belong to"
    " defaultdomain, if imapd.conf sets it, and to '' otherwise.",
)
@_written(
    "--sort",
    type=click.Choice(list(_SORT_KEYS)),
    default="source",
    show_default=True,
    help="use: the fullest first, in any resource; name: by domain and name; source: in the order"
    " of the source, which needs little memory with csv and jsonl.",
)
@_written(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default=_FORMATS[0],
    show_default=True,
    help="table: for each root the resource that it is over in, or else the fullest; csv: all"
    " resources in bytes, a first line with the names of the columns, empty where unlimited; jsonl:"
    " one JSON object a line for each root, sizes in bytes, limit null where unlimited.",
)
@_written(
    "--unit",
    needs="--format table",
    type=click.Choice(_UNITS, case_sensitive=False),
    metavar=f"[{'|'.join(_UNITS)}]",
    default=Unit.AUTO.value,
    show_default=True,
    help="With table: the unit of sizes.",
)
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
def list_roots(
    raw: RawOptions,
    over: bool,
    near: Optional[float],
    domain: tuple[str, ...],
    sort: str,
    form: str,
    unit: str,
    patterns: tuple[str, ...],
) -> None:
    """List quota roots: all of them, or those that match a PATTERN.

    A PATTERN is a glob such as 'j*', 'j*@example.org' or 'user.j*'. It is matched against the local
    part of the root's user, their address, and the name of the root. Case does not matter.

    `over` means that Cyrus refuses mail for the root, by --policy; `near` that it is nearly full,
    by --near or --reserve. In jsonl, `over` and `near` name the resources. Where Cyrus counts
    conversations totals instead of the usage in the quota database, the table shows the total; csv
    and jsonl show both, the total as `enforced`.

    A table is as wide as the terminal, and in a file or pipe as wide as it needs to be, unless
    COLUMNS is set. It has colours on a terminal, unless NO_COLOR is set. Control characters in
    names are escaped. A PATTERN or --domain that nothing is found for is reported on standard
    error; the exit status is 0.
    """
    options = raw.load()
    root_filter = RootFilter.of(options.source.naming, domain, patterns)
    sort_key, screen = _SORT_KEYS[sort], terminal()
    written = _list_format(form, unit, screen, options.source.naming)
    # A progress bar would be mixed with lines that are printed at the same time.
    is_streamed = screen.is_terminal and sort_key is None and form != "table"
    with reading_as(options.user):
        evaluation = _Evaluation(options, root_filter, near)
        is_some = over or near is not None
        # What a stream has is read in its order only where all is.
        may_select = is_some and (sort_key is not None or options.source.opened is not None)
        prefilter = evaluation.prefilter() if may_select else None
        if not is_some and sort_key is None and not isinstance(written, TableFormat):
            rows = evaluation.rows(written, has_bar=not is_streamed)
            if rows is not None:
                _write(written.lines(rows), written.encoding)
                return
        found = evaluation.roots(prefilter, has_bar=not is_streamed)
        roots = "quota root"
        if over:
            found, roots = (one for one in found if one.over), "quota root that is over"
        elif near is not None:
            found = (one for one in found if one.over or one.near)
            roots = "quota root that is over or near"
        unmatched = Unmatched(root_filter)
        rows = _rows(_noted(found, unmatched), written, sort_key)
        _write(written.lines(rows), written.encoding)
    for line in unmatched.lines(roots):
        complain(line)


def _noted(found: Iterable[EvaluatedRoot], unmatched: Unmatched) -> Iterator[EvaluatedRoot]:
    for one in found:
        unmatched.note(one.root.name)
        yield one


def _list_format(
    name: str, unit: str, screen: Terminal, naming: Naming
) -> Union[TableFormat, CsvFormat, JsonLinesFormat]:
    if name == "table":
        return TableFormat(screen, Unit(unit), naming)
    return CsvFormat(screen.is_terminal) if name == "csv" else JsonLinesFormat(naming)


def _rows(
    found: Iterable[EvaluatedRoot], written: ListFormat, sort_key: Optional[SortKey]
) -> Iterator[str]:
    if sort_key is None:
        return map(written.row, found)
    # Only the line of a root and its sort key are kept.
    keyed = [(sort_key(one), written.row(one)) for one in found]
    # Of two roots with the same key the line decides, so that the order is the same each time.
    keyed.sort(key=itemgetter(0, 1))
    return (row for _, row in keyed)


@attrs.frozen
class _Evaluation:
    """The roots of a source that a filter selects, each evaluated."""

    options: Options
    root_filter: RootFilter
    near: Optional[float]

    def prefilter(self) -> Optional[Prefilter]:
        """Return what passes all roots that are over or near, or None where totals are enforced."""
        site, policy, reserve = self.options.site, self.options.policy, self.options.reserve
        if site is not None and site.uses_totals:
            return None
        if self.near is None:
            return selection.prefilter(policy, reserve)
        amounts, percents = dict(reserve.amounts), dict(reserve.percents)
        for kind in policy.room:
            # Near is from the percentage on, and less than a reserve below it.
            amounts[kind] = max(1, amounts.get(kind, 0))
            percents[kind] = max(0, 100 - self.near, percents.get(kind, 0))
        return selection.prefilter(policy, Reserve(amounts, percents))

    def rows(self, written: ColumnsFormat, *, has_bar: bool) -> Optional[Iterator[str]]:
        """Return the row of every root, or None where they have to be evaluated one by one.

        Raises what keeps the source from being read.
        """
        prefilter = self.prefilter()
        if prefilter is None or self.root_filter.domains or self.root_filter.patterns:
            return None
        found = self.options.source.batches()
        if found is None:
            return None
        return self._rows(*found, written, prefilter, has_bar=has_bar)

    def _rows(
        self,
        expected: int,
        batches: Iterable[Batch],
        written: ColumnsFormat,
        prefilter: Prefilter,
        *,
        has_bar: bool,
    ) -> Iterator[str]:
        roots, read = 0, Counted()
        if has_bar:
            batches = progress(batches, lambda: read.count, expected)
        for keys, values in batches:
            rows = self._batch(keys, values, written, prefilter)
            read.add(len(keys))
            roots += len(rows)
            yield from rows
        self.options.check_readable(roots)

    def _batch(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        written: ColumnsFormat,
        prefilter: Prefilter,
    ) -> list[str]:
        columns = parse_columns.columns(keys, values)
        if columns is None:
            records = list(zip(keys, values))
            found = self.options.source.parsed(records, self.options.problems, is_checked=True)
            return [written.row(self._evaluated(root)) for root in found]
        rows = written.plain_rows(columns)
        for at in prefilter(keys, values):
            root = value.quota_root(keys[at], values[at])
            if root is not None:
                rows[at] = written.row(self._evaluated(root))
        return rows

    def roots(self, prefilter: Optional[Prefilter], *, has_bar: bool) -> Iterator[EvaluatedRoot]:
        """Yield every root that is selected; without `prefilter` in the order of the source.

        Raises what keeps the source from being read.
        """
        roots = self._counted(prefilter)
        for root in progress(roots, lambda: roots.count) if has_bar else roots:
            if self.root_filter.selects(root.name):
                yield self._evaluated(root)
        self.options.check_readable(roots.count)

    def _counted(self, prefilter: Optional[Prefilter]) -> Counted:
        """Return the roots that may be selected, and count all."""
        source, problems, keys = self.options.source, self.options.problems, self.root_filter.keys()
        found = source.scanned(keys) if prefilter is None and keys is not None else None
        if found is None:
            return source.counted(prefilter, problems)
        counted = Counted()
        counted.add(found.records - len(found.kept))
        counted.pass_on(source.parsed(found.kept, problems))
        return counted

    def _evaluated(self, root: QuotaRoot) -> EvaluatedRoot:
        counted = enforced(root, self.options, self.options.problems)
        over = self.options.policy.over(counted)
        near = self.options.reserve.near(counted)
        if self.near is not None:
            reached = near_limit(counted, self.options.policy, self.near)
            near = tuple(
                kind
                for kind, _ in counted.usages()
                if kind in near or (kind in reached and kind not in over)
            )
        return EvaluatedRoot(root, counted, over, near)


def _write(lines: Iterable[str], encoding: str) -> None:
    """Write `lines` in batches; names that are not UTF-8 come out as the bytes they were."""
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            _put("".join(batch), encoding)
            batch.clear()
    _put("".join(batch), encoding)


def _put(text: str, encoding: str) -> None:
    sys.stdout.buffer.write(text.encode(encoding, "surrogateescape"))
    sys.stdout.buffer.flush()
