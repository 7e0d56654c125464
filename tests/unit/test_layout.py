"""How the tests are laid out: names that occur once, and nothing that needs a server in between."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Iterator

TESTS = Path(__file__).parents[1]
#: What runs without a server, and may import nothing from what needs one.
SERVERLESS = sorted(
    path for path in TESTS.rglob("*.py") if "integration" not in path.relative_to(TESTS).parts
)


def _imported(path: Path) -> Iterator[str]:
    """Every module that a file of tests imports, in full."""
    package = path.relative_to(TESTS.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{name.name}" for name in node.names)


def test_every_test_module_has_a_name_of_its_own() -> None:
    counts = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert counts["test_layout.py"] == 1
    assert [name for name, count in counts.items() if count > 1] == []


def test_unit_and_property_tests_import_nothing_that_needs_a_server() -> None:
    assert {"unit", "property"} <= {path.parent.name for path in SERVERLESS}
    imports = {(path.name, name) for path in SERVERLESS for name in _imported(path)}
    assert ("test_fast_paths.py", "tests.property.strategies.mutated") in imports
    assert [pair for pair in imports if pair[1].startswith("tests.integration")] == []
