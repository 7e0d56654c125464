"""The tables of docs/errors.md that come from the code: exit statuses, and the doctor's findings.

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of the file is
written by hand.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator

from cyrusquota import errors
from cyrusquota.doctor.findings import GROUPS
from cyrusquota.doctor.kinds import Kind
from cyrusquota.errors import CyrusQuotaError
from tools.docs import CHECKOUT, Generated

_PATH = CHECKOUT / "docs" / "errors.md"
_TABLE = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def files() -> Iterator[Generated]:
    """Return docs/errors.md with current tables."""
    text = _PATH.read_text("utf-8")
    yield Generated(_PATH, _TABLE.sub(lambda m: m[1] + "".join(_TABLES[m["name"]]()) + m[3], text))


def meanings() -> dict[int, str]:
    """Return what each exit status means, in the order of the numbers."""
    found: dict[int, list[str]] = {status: [text] for status, text in errors.OTHER_STATUSES.items()}
    for kind in _classes(CyrusQuotaError):
        if "exit_status" in vars(kind):
            found.setdefault(kind.exit_status, []).append(_first_paragraph(kind))
    return {status: " ".join(found[status]) for status in sorted(found)}


def _classes(base: type[CyrusQuotaError]) -> Iterator[type[CyrusQuotaError]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _classes(kind)


def _first_paragraph(kind: type[CyrusQuotaError]) -> str:
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def _exit_statuses() -> Iterator[str]:
    names = {value: name for name, value in vars(errors).items() if name.startswith("EX_")}
    yield "| status | | means |\n| ---: | --- | --- |\n"
    for status, text in meanings().items():
        name = f"`{names[status]}`" if status in names else ""
        yield f"| {status} | {name} | {text} |\n"


def _findings() -> Iterator[str]:
    """Return a table for each group of findings, without those that are simply good news."""
    for number, (group, kinds) in enumerate(GROUPS.items()):
        yield "\n" if number else ""
        yield f"### {group}\n\n"
        yield "| finding | severity | means | what to do |\n| --- | --- | --- | --- |\n"
        for kind in kinds:
            if kind.severity.name != "OK":
                yield _row(kind)


def _row(kind: Kind) -> str:
    commands = ", ".join(f"`{command}`" for command in kind.commands)
    do = ": ".join(filter(None, (kind.do, commands)))
    cells = (f"`{kind.id}`", kind.severity.name.lower(), kind.means, do)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


_TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "exit statuses": _exit_statuses,
    "findings": _findings,
}
