"""Exit statuses and what they mean, from the classes of errors.py and the numbers beside them."""

from __future__ import annotations

from typing import Iterator

from cyrusquota import errors
from cyrusquota.errors import CyrusQuotaError

#: Names of sysexits.h, by number.
NAMES = {value: name for name, value in vars(errors).items() if name.startswith("EX_")}


def classes(base: type[CyrusQuotaError] = CyrusQuotaError) -> Iterator[type[CyrusQuotaError]]:
    """The exceptions of errors.py below `base`, each behind its parent."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from classes(kind)


def ending() -> Iterator[type[CyrusQuotaError]]:
    """Those that end a run with a status of their own, not merely their parent's."""
    return (kind for kind in classes() if "exit_status" in vars(kind))


def meanings() -> dict[int, str]:
    """What each exit status means, a sentence or more, in the order of the numbers."""
    found: dict[int, list[str]] = {status: [text] for status, text in errors.OTHER_STATUSES.items()}
    for kind in ending():
        found.setdefault(kind.exit_status, []).append(summary(kind))
    return {status: " ".join(found[status]) for status in sorted(found)}


def summary(kind: type[CyrusQuotaError]) -> str:
    """The first sentence of a class's docstring."""
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
