"""XXH3-64, against recorded digests and against the package that twom readers prefer."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest

from cyrusquota.cyrusdb.twom import xxh3 as _xxh3
from cyrusquota.cyrusdb.twom.xxh3 import checksum, xxh3_64

FIXTURES = Path(__file__).parents[1] / "fixtures"
VECTORS = [line.split() for line in (FIXTURES / "xxh3_vectors.txt").read_text().splitlines()]
WORDS = [
    (b"a", 0xE6C632B61E964E1F),
    (b"abc", 0x78AF5F94892F3950),
    (b"abcd", 0x6497A96F53A89890),
    (b"user.jane", 0xF0792102FD1F85F7),
    (b"x" * 17, 0x89975E6B7D2F5A11),
    (b"x" * 100, 0xC90984FFDF50CE42),
    (b"x" * 200, 0x50EF124FB1E4DE53),
    (b"x" * 300, 0xA5D1B4607DC83554),
    (b"x" * 2000, 0xB500AD12968C7634),
]


@pytest.mark.parametrize(("length", "digest"), VECTORS)
def test_the_digest_of_every_recorded_length(length: str, digest: str) -> None:
    data = bytes((31 * at + 7) & 255 for at in range(int(length)))
    assert xxh3_64(data) == int(digest, 16)


@pytest.mark.parametrize(("data", "digest"), WORDS)
def test_the_digest_of_a_word(data: bytes, digest: int) -> None:
    assert xxh3_64(data) == digest
    assert checksum(data) == digest & 0xFFFFFFFF


def test_nothing_has_the_checksum_0() -> None:
    assert checksum(b"") == 0


def test_both_implementations_agree() -> None:
    xxhash = pytest.importorskip("xxhash", reason="pip install cyrusquota[twom] to compare with it")
    chance = random.Random(1)
    for length in [*range(1100), 2047, 2048, 2049, 5000]:
        data = chance.getrandbits(8 * length + 1).to_bytes(length + 1, "little")[:length]
        assert xxh3_64(data) == xxhash.xxh3_64_intdigest(data)


def test_without_the_package_the_pure_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    _xxh3.digest.cache_clear()
    try:
        assert _xxh3.digest() is xxh3_64
        assert checksum(b"user.jane") == 0xFD1F85F7
    finally:
        _xxh3.digest.cache_clear()
