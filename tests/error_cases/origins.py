"""Where the package makes an error that a user may meet, found in its syntax trees.

An origin is a call of one of the package's exception classes, or of click's for wrong usage; or a
call that passes its own words to a function which makes one, such as `self._bad(name, value, "yes
or no")`. Exceptions that a module keeps to itself do not count: another error reports them.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, Optional

import attrs

import cyrusquota
from cyrusquota.errors import CyrusQuotaError

PACKAGE = Path(cyrusquota.__file__).parent
#: What the callbacks of options raise.
_OF_CLICK = {"BadParameter", "UsageError"}


@attrs.frozen
class Origin:
    """The lines of a call, the function it is in, and how many such calls are before it there."""

    module: str
    function: str
    number: int
    first: int
    last: int

    def __str__(self) -> str:
        number = f" ({self.number + 1})" if self.number else ""
        return f"{self.module}: {self.function}{number}"

    def is_at(self, module: str, line: int) -> bool:
        """Return whether a line of a module is within the call."""
        return self.module == module and self.first <= line <= self.last


def origins() -> tuple[Origin, ...]:
    """Return every origin, by module and line."""
    trees = {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_bytes())
        for path in sorted(PACKAGE.rglob("*.py"))
        if "strategies" not in path.parts
    }
    kinds = _kinds(CyrusQuotaError) | _OF_CLICK
    found: list[Origin] = []
    for module, tree in trees.items():
        makers = _makers(tree, kinds)
        seen: dict[str, int] = {}
        for function, call in _calls(tree, ""):
            if _is_origin(call, kinds, makers):
                number = seen[function] = seen.get(function, -1) + 1
                last = call.end_lineno or call.lineno
                found.append(Origin(module, function, number, call.lineno, last))
    return tuple(found)


def _kinds(base: type[Exception]) -> set[str]:
    names = {base.__name__}
    for kind in base.__subclasses__():
        names |= _kinds(kind)
    return names


def _makers(tree: ast.Module, kinds: set[str]) -> set[str]:
    """Return the functions of a module that return one of the errors."""
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and isinstance(node.returns, ast.Name)
        and node.returns.id in kinds
    }


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    """Return every call below `node`, with the name of its function (and class)."""
    for child in ast.iter_child_nodes(node):
        within = function
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            within = f"{function}.{child.name}" if function else child.name
        if isinstance(child, ast.Call):
            yield within, child
        yield from _calls(child, within)


def _is_origin(call: ast.Call, kinds: set[str], makers: set[str]) -> bool:
    name = _name(call.func)
    if name in kinds:
        return True
    return name in makers and any(
        isinstance(argument, ast.JoinedStr)
        or (isinstance(argument, ast.Constant) and isinstance(argument.value, str))
        for argument in call.args
    )


def _name(node: ast.AST) -> Optional[str]:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
