"""XXH3-64, the checksum of twom files, as its specification has it (seed 0, default secret).

The `xxhash` package does the same many times faster and is used where it is installed; the pure
Python beside it defines what is right, and does for a file of a few thousand records.
"""

from __future__ import annotations

import functools
import importlib
import struct
from typing import Callable

BITS32, _BITS64 = (1 << 32) - 1, (1 << 64) - 1
_PRIME32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_PRIME64 = (
    *(0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9),
    *(0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5),
)
_MIX1, _MIX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
#: The eight bytes of the secret from each of its places on.
_S = [int.from_bytes(_SECRET[at : at + 8], "little") for at in range(len(_SECRET) - 7)]
_STRIPE, _BLOCK = 64, 1024
#: Up to four pairs of words from the front, and as many that end at the end; and the places of the
#: secret that go with each pair, once for its first word and once for its second.
_PAIRS = [struct.Struct(f"<{2 * count}Q") for count in range(5)]
_PLACES = [
    [*range(0, 32 * count, 32), *range(32 * count - 16, 0, -32)] for count in range(len(_PAIRS))
]
_KEYS = [([_S[at] for at in places], [_S[at + 8] for at in places]) for places in _PLACES]
_START = (
    *(_PRIME32[2], _PRIME64[0], _PRIME64[1], _PRIME64[2]),
    *(_PRIME64[3], _PRIME32[1], _PRIME64[4], _PRIME32[0]),
)


def checksum(data: bytes) -> int:
    """Return what twom writes behind `data`: the low 32 bits, and 0 for nothing at all."""
    return digest()(data) & BITS32 if data else 0


@functools.cache
def digest() -> Callable[[bytes], int]:
    """Return the function that gives the 64-bit digest of bytes in the least time."""
    try:
        found: Callable[[bytes], int] = importlib.import_module("xxhash").xxh3_64_intdigest
    except (ImportError, AttributeError):
        return xxh3_64
    return found


def xxh3_64(data: bytes) -> int:
    """Return the 64-bit digest of `data`."""
    length = len(data)
    if length > 240:
        return _long(data, length)
    if length > 128:
        return _up_to_240(data, length)
    if length > 16:
        return _up_to_128(data, length)
    return _up_to_16(data, length)


def _up_to_16(data: bytes, length: int) -> int:
    if length > 8:
        low = _word(data, 0) ^ _S[24] ^ _S[32]
        high = _word(data, length - 8) ^ _S[40] ^ _S[48]
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche(length + swapped + high + _multiply_fold(low, high))
    if length > 3:
        value = int.from_bytes(data[-4:], "little") + (int.from_bytes(data[:4], "little") << 32)
        value ^= _S[8] ^ _S[16]
        value ^= _rotated(value, 49) ^ _rotated(value, 24)
        value = value * _MIX2 & _BITS64
        value = (value ^ (value >> 35) + length) * _MIX2 & _BITS64
        return value ^ value >> 28
    if length:
        value = data[0] << 16 | data[length >> 1] << 24 | data[-1] | length << 8
        return _avalanche64(value ^ (_S[0] ^ _S[4]) & BITS32)
    return _avalanche64(_S[56] ^ _S[64])


def _up_to_128(data: bytes, length: int) -> int:
    """Take apart all of it at once, as nearly every record is of such a length.

    What carries beyond 64 bits in the sums is cut off at the end.
    """
    count = (length + 31) // 32
    pairs = _PAIRS[count]
    words = pairs.unpack_from(data) + pairs.unpack_from(data, length - 16 * count)
    total = length * _PRIME64[0]
    for one, other, key, other_key in zip(words[::2], words[1::2], *_KEYS[count]):
        product = (one ^ key) * (other ^ other_key)
        total += product ^ product >> 64
    return _avalanche(total)


def _up_to_240(data: bytes, length: int) -> int:
    total = length * _PRIME64[0]
    for index in range(8):
        total += _mixed(data, 16 * index, 16 * index)
    total = _avalanche(total)
    for index in range(8, length // 16):
        total += _mixed(data, 16 * index, 16 * (index - 8) + 3)
    return _avalanche(total + _mixed(data, length - 16, 119))


def _long(data: bytes, length: int) -> int:
    lanes = list(_START)
    blocks = (length - 1) // _BLOCK
    for block in range(blocks):
        for index in range(_BLOCK // _STRIPE):
            _add_stripe(lanes, data, block * _BLOCK + index * _STRIPE, 8 * index)
        for lane, value in enumerate(lanes):
            lanes[lane] = (value ^ value >> 47 ^ _S[128 + 8 * lane]) * _PRIME32[0] & _BITS64
    rest = blocks * _BLOCK
    for index in range((length - 1 - rest) // _STRIPE):
        _add_stripe(lanes, data, rest + index * _STRIPE, 8 * index)
    _add_stripe(lanes, data, length - _STRIPE, 121)
    total = length * _PRIME64[0]
    for index in range(4):
        first, second = lanes[2 * index : 2 * index + 2]
        total += _multiply_fold(first ^ _S[11 + 16 * index], second ^ _S[19 + 16 * index])
    return _avalanche(total)


def _add_stripe(lanes: list[int], data: bytes, at: int, secret: int) -> None:
    for lane in range(8):
        value = _word(data, at + 8 * lane)
        keyed = value ^ _S[secret + 8 * lane]
        lanes[lane ^ 1] = lanes[lane ^ 1] + value & _BITS64
        lanes[lane] = lanes[lane] + (keyed & BITS32) * (keyed >> 32) & _BITS64


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _mixed(data: bytes, at: int, secret: int) -> int:
    product = (_word(data, at) ^ _S[secret]) * (_word(data, at + 8) ^ _S[secret + 8])
    return (product ^ product >> 64) & _BITS64


def _multiply_fold(one: int, other: int) -> int:
    product = one * other
    return (product ^ product >> 64) & _BITS64


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _BITS64


def _avalanche(value: int) -> int:
    value &= _BITS64
    value = (value ^ value >> 37) * _MIX1 & _BITS64
    return value ^ value >> 32


def _avalanche64(value: int) -> int:
    value = (value ^ value >> 33) * _PRIME64[1] & _BITS64
    value = (value ^ value >> 29) * _PRIME64[2] & _BITS64
    return value ^ value >> 32
