"""docs/errors.md: it is current, and no error that somebody may meet is missing from it."""

from __future__ import annotations

import pytest

from cyrusquota import errors
from cyrusquota.errors import CyrusQuotaError
from papers import errors as table
from papers import provocations, statuses
from papers.provocations import PROVOCATIONS, UNPROVOKED, Heard, records
from papers.sites import Site, sites


@pytest.fixture(scope="module")
def heard() -> list[Heard]:
    return [one for _, one in provocations.heard()]


def test_the_table_is_current() -> None:
    (file,) = table.files()
    assert file.is_current, "docs/errors.md falls behind the code: make man"


def test_every_place_that_makes_an_error_is_provoked_or_said_why_not(heard: list[Heard]) -> None:
    lines = frozenset(line for one in heard for line in one.lines)
    silent = {str(site) for site in sites() if not _is_provoked(site, lines)}
    assert silent - set(UNPROVOKED) == set(), "each needs a provocation in papers/provocations"
    assert set(UNPROVOKED) - silent == set(), "these can be provoked, or are gone"


def _is_provoked(site: Site, lines: frozenset[tuple[str, int]]) -> bool:
    return any(site.is_at(module, line) for module, line in lines)


def test_every_class_of_error_is_provoked(heard: list[Heard]) -> None:
    """Those that only gather others, and have their status from them, need not be."""
    provoked = {kind for one in heard for kind in one.kinds}
    assert [kind for kind in _all(CyrusQuotaError) if kind not in provoked] == []


def _all(base: type[CyrusQuotaError]) -> list[type[CyrusQuotaError]]:
    return [kind for child in base.__subclasses__() for kind in (child, *_all(child))]


def test_each_ends_with_the_status_of_its_class(heard: list[Heard]) -> None:
    """But problems, which end nothing, and plugins, which have statuses of their own."""
    for provocation, one in zip(PROVOCATIONS, heard):
        kind = one.kinds[-1]
        expected = kind.exit_status if issubclass(kind, CyrusQuotaError) else errors.EX_USAGE
        if provocation.command.startswith("cyrusquota check"):
            expected = 3
        goes_on = provocation in records.PROVOCATIONS or " explain " in provocation.command
        assert one.status == expected or (goes_on and one.status == 0), one


def test_each_is_one_line_that_names_no_place_of_the_machine(heard: list[Heard]) -> None:
    for one in heard:
        assert one.line.startswith(("cyrusquota", "Error: ", "CYRUSQUOTA ", "Exim ", "map "))
        assert "\n" not in one.line
        assert "/tmp" not in one.line
        assert "Traceback" not in one.line


def test_an_error_without_a_provocation_would_be_noticed() -> None:
    (known,) = (site for site in sites() if str(site) == "errors.py: map_error")
    assert not _is_provoked(known, frozenset({("errors.py", known.first - 1)}))
    assert _is_provoked(known, frozenset({("errors.py", known.first + 1)}))


def test_every_status_that_a_command_ends_with_has_a_meaning(heard: list[Heard]) -> None:
    assert {one.status for one in heard} <= {3, *statuses.meanings()}
    assert {0, 64, 65, 66, 69, 73, 74, 75, 77, 78} <= {one.status for one in heard}
