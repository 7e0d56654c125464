"""The package is layered as docs/architecture.md says, and private names stay where they are."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Iterator

import attrs

import cyrusquota

PACKAGE = Path(cyrusquota.__file__).parent
TABLE = Path(__file__).parents[2] / "docs" / "architecture.md"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@attrs.frozen
class Import:
    """Where a module names another one of the package, and a name in it."""

    importer: str
    module: str
    name: str = ""

    @property
    def folders(self) -> tuple[str, str]:
        """Return the folder of the importer, and the folder it imports from."""
        return _folder(self.importer), _folder(self.module)

    @property
    def is_private(self) -> bool:
        """Return whether the name, or the module, belongs to somebody else."""
        if _is_private_name(self.name):
            return self.importer != self.module
        parent, _, last = self.module.rpartition(".")
        return _is_private_name(last) and not f"{self.importer}.".startswith(f"{parent}.")


def _folder(module: str) -> str:
    return module.split(".")[1]


def _is_private_name(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _full(name: str) -> str:
    """Return the name of a module as it is in MODULES."""
    return name if name in MODULES else f"{name}.__init__"


def imports(importer: str, text: str) -> Iterator[Import]:
    """Return what `text`, the source of a module, names of other modules of the package."""
    tree = ast.parse(text)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if _full(name.name) in MODULES:
                    yield Import(importer, _full(name.name))
        elif isinstance(node, ast.ImportFrom):
            above = importer.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for name in node.names:
                whole = _full(f"{base}.{name.name}")
                if whole in MODULES:
                    aliases[name.asname or name.name] = whole
                    yield Import(importer, whole)
                elif _full(base) in MODULES:
                    yield Import(importer, _full(base), name.name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id in aliases:
            yield Import(importer, aliases[node.value.id], node.attr)


def _all_imports() -> list[Import]:
    return [
        found
        for module, path in MODULES.items()
        for found in imports(module, path.read_text("utf-8"))
    ]


def _layers() -> list[str]:
    """Return the folders and modules of the table, top to bottom."""
    text = TABLE.read_text("utf-8").split("## What may import what")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE)


def test_the_table_names_every_folder_of_the_package() -> None:
    assert sorted(_layers()) == sorted({_folder(module) for module in MODULES})


def test_a_folder_imports_only_what_stands_above_it() -> None:
    layers = _layers()
    found = [
        one
        for one in _all_imports()
        if one.folders[0] != one.folders[1] and one.name != "__version__"
    ]
    assert len(found) > 100
    assert [
        one for one in found if layers.index(one.folders[0]) < layers.index(one.folders[1])
    ] == []


def test_no_private_name_is_imported() -> None:
    assert [one for one in _all_imports() if one.is_private] == []


def test_a_wrong_import_would_be_noticed() -> None:
    text = """
from cyrusquota.cli import main
from cyrusquota.maps import _entry, cdb
from cyrusquota.maps.cdb import _pad
def late() -> None:
    import cyrusquota.verdicts.policies
    cdb._hash()
"""
    found = list(imports("cyrusquota.quota", text))
    assert {one.folders for one in found} == {
        ("quota", "cli"),
        ("quota", "maps"),
        ("quota", "verdicts"),
    }
    assert [(one.module, one.name) for one in found if one.is_private] == [
        ("cyrusquota.maps._entry", ""),
        ("cyrusquota.maps.cdb", "_pad"),
        ("cyrusquota.maps.cdb", "_hash"),
    ]
    assert not Import("cyrusquota.maps.cdb", "cyrusquota.maps._entry").is_private
