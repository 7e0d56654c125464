"""Fuzzing has a start: every target takes its own seeds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cyrusquota.parse import value
from fuzz import seeds


@pytest.mark.parametrize("name", seeds.TARGETS)
def test_every_target_takes_its_seeds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the targets put their files is decided when they are imported.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    from fuzz import targets

    monkeypatch.setattr(targets, "_DIRECTORY", tmp_path)
    for place in ("_FILE", "_TREE", "_CONF"):
        monkeypatch.setattr(targets, place, tmp_path / getattr(targets, place).name)
    for module, attribute, setting in targets.SETTINGS:
        monkeypatch.setattr(module, attribute, setting)
    corpus = tmp_path / "corpus"
    seeds.write(name, corpus)
    files = sorted(corpus.iterdir())
    assert files
    for file in files:
        targets.TARGETS[name](file.read_bytes())


def test_a_finding_escapes_a_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    from fuzz import targets

    def broken(*arguments: object, **more: object) -> object:
        raise KeyError

    monkeypatch.setattr(value, "usages", broken)
    with pytest.raises(KeyError):
        targets.TARGETS["value"](b"5 1")
