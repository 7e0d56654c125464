"""Pointers of a twoskip file that lead in a circle, which a reader must not follow for ever."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.damaged_databases import resealed, spans
from tests.recorded_fixtures import FIXTURES

STAGES = FIXTURES / "history" / "twoskip"
DELETE = ord("-")
#: Seconds that only an endless loop takes for a file of some hundred bytes.
PATIENCE = 60
READ = """
import sys
from cyrusquota import DamagedDatabase, cyrusdb
try:
    with cyrusdb.open(sys.argv[1]) as db:
        print(len(list(db)))
except DamagedDatabase as error:
    print(error)
"""


def _read(path: Path) -> str:
    """What a process of its own says of a database: the number of records, or the error."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path)],
            capture_output=True,
            check=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    return done.stdout


@pytest.mark.parametrize("stage", ["03-delete-c.db", "06-delete-first-and-last.db"])
def test_a_deletion_that_points_to_itself_is_damage(stage: str, tmp_path: Path) -> None:
    original = (STAGES / stage).read_bytes()
    (size,) = struct.unpack_from(">Q", original, 48)
    original = original[:size]
    at = max(at for at, _, _ in spans(original) if original[at] == DELETE)
    path = tmp_path / "quotas.db"
    looped = original[: at + 8] + struct.pack(">Q", at) + original[at + 16 :]
    path.write_bytes(resealed(looped, original))
    assert f"offset {at}: expected a chain of records that has each key once" in _read(path)


def test_without_a_loop_the_file_is_read() -> None:
    assert _read(STAGES / "03-delete-c.db") == "4\n"
