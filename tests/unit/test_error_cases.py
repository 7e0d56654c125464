"""Every place of the package that makes an error is reached by a real command."""

from __future__ import annotations

import re

import pytest

from cyrusquota import errors
from cyrusquota.errors import CyrusQuotaError
from tests import error_cases
from tests.error_cases import CASES, UNREACHABLE, ErrorCase, ErrorResult, records
from tests.error_cases.origins import Origin, origins
from tools.docs import CHECKOUT
from tools.docs.errors import meanings

#: What a command prints before a message.
_PREFIX = re.compile(
    r"^(?:cyrusquota(?:-export|-mirror)?: |store store1: |Error: |CYRUSQUOTA [A-Z]+ - |Exim +"
    r"|map +)"
)


@pytest.fixture(scope="module")
def results() -> list[ErrorResult]:
    return [result for _, result in error_cases.results()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_case_makes_its_error_and_ends_with_its_status(case: ErrorCase) -> None:
    """A problem with one record ends nothing, and plugins have statuses of their own."""
    result = dict(error_cases.results())[case]
    assert case.error in result.kinds
    own = issubclass(case.error, CyrusQuotaError)
    expected = case.error.exit_status if own else errors.EX_USAGE  # type: ignore[attr-defined]
    goes_on = case in records.CASES or " explain " in case.command or " stores " in case.command
    if goes_on and not result.status:
        expected = 0
    if case.command.startswith("cyrusquota check"):
        expected = 3
    assert result.status == expected


def test_every_place_that_makes_an_error_is_reached(results: list[ErrorResult]) -> None:
    lines = frozenset(line for result in results for line in result.lines)
    missed = {str(origin) for origin in origins() if not _is_reached(origin, lines)}
    assert missed - set(UNREACHABLE) == set(), "each needs a case in tests/error_cases"
    assert set(UNREACHABLE) - missed == set(), "these can be reached, or are gone"


def _is_reached(origin: Origin, lines: frozenset[tuple[str, int]]) -> bool:
    return any(origin.is_at(module, line) for module, line in lines)


def test_every_class_of_error_is_made(results: list[ErrorResult]) -> None:
    made = {kind for result in results for kind in result.kinds}
    assert [kind for kind in _subclasses(CyrusQuotaError) if kind not in made] == []


def _subclasses(base: type[CyrusQuotaError]) -> list[type[CyrusQuotaError]]:
    return [kind for child in base.__subclasses__() for kind in (child, *_subclasses(child))]


def test_each_message_is_one_line_without_paths_of_this_machine(results: list[ErrorResult]) -> None:
    for result in results:
        assert _PREFIX.match(result.line)
        assert "\n" not in result.line
        assert "/tmp" not in result.line
        assert "Traceback" not in result.line


def test_an_error_without_a_case_would_be_noticed() -> None:
    (known,) = (origin for origin in origins() if str(origin) == "errors.py: map_error")
    assert not _is_reached(known, frozenset({("errors.py", known.first - 1)}))
    assert _is_reached(known, frozenset({("errors.py", known.first + 1)}))


def test_every_exit_status_has_a_meaning(results: list[ErrorResult]) -> None:
    assert {result.status for result in results} <= {3, *meanings()}
    assert {0, 64, 65, 66, 69, 73, 74, 75, 77, 78} <= {result.status for result in results}


# docs/errors.md


def _quoted() -> list[tuple[str, int]]:
    """Return the messages of the table in docs/errors.md, each with its status."""
    text = (CHECKOUT / "docs" / "errors.md").read_text("utf-8")
    rows = re.findall(r"^\| `(.+?)` \| +(\d+) \| ", text, re.MULTILINE)
    return [(message, int(status)) for message, status in rows]


def _pattern(message: str) -> str:
    """Return a pattern with wildcards for `...`, for words in capitals and for quotes."""
    pattern = re.escape(message).replace(re.escape("..."), ".*").replace("'", "['`]")
    return re.sub(r"\b(?:USED|LIMIT)\b|\b[A-Z]{3,}\b", lambda m: _WORDS.get(m[0], ".+"), pattern)


#: Capitals that are part of a message.
_WORDS = {"USED": "USED", "LIMIT": "LIMIT"}


@pytest.mark.parametrize(("message", "status"), _quoted())
def test_a_message_in_the_documents_is_printed_by_a_command(
    message: str, status: int, results: list[ErrorResult]
) -> None:
    printed = [_PREFIX.sub("", result.line) for result in results if result.status == status]
    assert [line for line in printed if re.fullmatch(_pattern(message), line)] != []


def test_the_document_has_the_usual_messages_and_a_wrong_one_would_be_noticed() -> None:
    assert len(_quoted()) == 20 + 5
    assert not re.fullmatch(_pattern("MAP: is full; ..."), "map: is a directory; remove it")
