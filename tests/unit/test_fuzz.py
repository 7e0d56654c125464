"""Fuzzing has a start: every target takes its own seeds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from cyrusquota.parse import value
from fuzz import seeds


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # Where the targets put their files is decided when they are imported.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    from fuzz import targets

    monkeypatch.setattr(targets, "_DIRECTORY", tmp_path)
    for place in ("_FILE", "_TREE", "_CONF"):
        monkeypatch.setattr(targets, place, tmp_path / getattr(targets, place).name)
    for module, attribute, setting in targets.SETTINGS:
        monkeypatch.setattr(module, attribute, setting)
    return targets


def _run(targets: ModuleType, name: str, corpus: Path) -> None:
    seeds.write(name, corpus)
    files = sorted(corpus.iterdir())
    assert files
    for file in files:
        targets.TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", seeds.TARGETS)
def test_every_target_takes_its_seeds(name: str, targets: ModuleType, tmp_path: Path) -> None:
    _run(targets, name, tmp_path / "corpus")


@pytest.mark.parametrize("backend", ["flat", "quotalegacy", "skiplist", "twom", "twoskip"])
def test_a_fast_path_answers_some_of_its_seeds(
    backend: str, targets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    monkeypatch.setattr(targets, "_agree", lambda fast, opened: answers.append(fast))
    _run(targets, f"fast-{backend}", tmp_path / "corpus")
    assert any(answers)


def test_a_finding_escapes_a_target(targets: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **more: object) -> object:
        raise KeyError

    monkeypatch.setattr(value, "usages", broken)
    with pytest.raises(KeyError):
        targets.TARGETS["value"](b"5 1")
