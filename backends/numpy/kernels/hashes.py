"""Hashes of texts, of all texts of one length at once: the formulas branch on the length only.

Fingerprint64 is that of FarmHash (farmhashna::Hash64, version 1.1), SipHash-2-4 its reference.  Numbers are
little-endian words of 64 bits; everything wraps.  MurmurHash3_x86_32 (Appleby 2011) has words of 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..registry import Array

Pair = tuple[Array, Array]

K0, K1, K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))


def hash_texts(texts: Sequence[bytes], key: Sequence[int]) -> Array:
    """The hash of each text, u64: with a key of one integer MurmurHash3, of two SipHash, else Fingerprint64."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    out = np.empty(len(texts), np.uint64)
    words = [np.uint64(k & (1 << 64) - 1) for k in key]
    for length in np.unique(lengths):
        (places,) = np.nonzero(lengths == length)
        data = np.frombuffer(b"".join(texts[i] for i in places.tolist()), np.uint8).reshape(len(places), length)
        with np.errstate(over="ignore"):
            out[places] = (fingerprint, murmur, _sip)[len(words)](data, *words)
    return out


# ---- words ----------------------------------------------------------------------------------------------------


def _word(data: Array, place: int, size: int = 8) -> Array:
    """The `size` bytes of each text from a place on as a number."""
    part = np.zeros((len(data), 8), np.uint8)
    part[:, :size] = data[:, place : place + size]
    return part.view("<u8")[:, 0].astype(np.uint64, copy=False)


def _u(number: int) -> np.uint64:
    return np.uint64(number)


def _rotate(x: Array, right: int) -> Array:
    return (x >> _u(right)) | (x << _u(64 - right))


def _mix(x: Array) -> Array:
    return x ^ (x >> _u(47))


# ---- Fingerprint64 --------------------------------------------------------------------------------------------


def fingerprint(data: Array) -> Array:
    """Fingerprint64 of each row of bytes."""
    length = data.shape[1]
    if length <= 16:
        return _up_to_16(data)
    return _up_to_32(data) if length <= 32 else _up_to_64(data) if length <= 64 else _long(data)


def _join(u: Array, v: Array, mul: Array) -> Array:
    a = _mix((u ^ v) * mul)
    return _mix((v ^ a) * mul) * mul


def _up_to_16(data: Array) -> Array:
    n = data.shape[1]
    mul = K2 + _u(2 * n)
    if n >= 8:
        a, b = _word(data, 0) + K2, _word(data, n - 8)
        return _join(_rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul, mul)
    if n >= 4:
        return _join(_u(n) + (_word(data, 0, 4) << _u(3)), _word(data, n - 4, 4), mul)
    if n == 0:
        return np.full(len(data), K2)
    a, b, c = (_word(data, place, 1) for place in (0, n >> 1, n - 1))
    return _mix((a + (b << _u(8))) * K2 ^ (_u(n) + (c << _u(2))) * K0) * K2


def _up_to_32(data: Array) -> Array:
    n = data.shape[1]
    mul = K2 + _u(2 * n)
    a, b, c, d = _word(data, 0) * K1, _word(data, 8), _word(data, n - 8) * mul, _word(data, n - 16) * K2
    return _join(_rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + K2, 18) + c, mul)


def _up_to_64(data: Array) -> Array:
    n = data.shape[1]
    mul = K2 + _u(2 * n)
    a, b, c, d = _word(data, 0) * K2, _word(data, 8), _word(data, n - 8) * mul, _word(data, n - 16) * K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _join(y, a + _rotate(b + K2, 18) + c, mul)
    e, f = _word(data, 16) * mul, _word(data, 24)
    g, h = (y + _word(data, n - 32)) * mul, (z + _word(data, n - 24)) * mul
    return _join(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _weak(data: Array, place: int, a: Array, b: Array) -> Pair:
    """Two words of state and 32 bytes, mixed lightly."""
    w, x, y, z = (_word(data, place + 8 * i) for i in range(4))
    a = a + w
    b = _rotate(b + a + z, 21)
    c, a = a, a + x + y
    return a + z, b + _rotate(a, 44) + c


def _long(data: Array) -> Array:
    """56 bytes of state take 64 bytes a turn; the last 64 bytes are taken once more."""
    n, zero = data.shape[1], np.zeros(len(data), np.uint64)
    y = zero + _u(81) * K1 + _u(113)
    z = _mix(y * K2 + _u(113)) * K2
    x = zero + _u(81) * K2 + _word(data, 0)
    v, w = (zero, zero), (zero, zero)
    for place in range(0, (n - 1) // 64 * 64, 64):
        x, y, z, v, w = _turn(data, place, x, y, z, v, w, K1, _u(1))
    mul, last = K1 + ((z & _u(255)) << _u(1)), (n - 1) & 63
    w = (w[0] + _u(last), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _turn(data, n - 64, x, y, z, v, w, mul, _u(9))
    return _join(_join(v[0], w[0], mul) + _mix(y) * K0 + z, _join(v[1], w[1], mul) + x, mul)


def _turn(
    data: Array, at: int, x: Array, y: Array, z: Array, v: Pair, w: Pair, mul: Array, weight: np.uint64
) -> tuple[Array, Array, Array, Pair, Pair]:
    x = _rotate(x + y + v[0] + _word(data, at + 8), 37) * mul ^ w[1] * weight
    y = _rotate(y + v[1] + _word(data, at + 48), 42) * mul + v[0] * weight + _word(data, at + 40)
    z = _rotate(z + w[0], 33) * mul
    v = _weak(data, at, v[1] * mul, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _word(data, at + 16))
    return z, y, x, v, w


# ---- SipHash-2-4 ----------------------------------------------------------------------------------------------


def _sip(data: Array, key0: np.uint64, key1: np.uint64) -> Array:
    n, zero = data.shape[1], np.zeros(len(data), np.uint64)
    starts = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    state = [zero + (_u(s) ^ k) for s, k in zip(starts, (key0, key1, key0, key1))]
    words = [_word(data, place) for place in range(0, n - 7, 8)]
    words.append(_word(data, n - n % 8, n % 8) | _u((n & 255) << 56))
    for word in words:
        state[3] = state[3] ^ word
        _sip_rounds(state, 2)
        state[0] = state[0] ^ word
    state[2] = state[2] ^ _u(255)
    _sip_rounds(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_rounds(v: list[Array], number: int) -> None:
    for _ in range(number):
        v[0] = v[0] + v[1]
        v[2] = v[2] + v[3]
        v[1] = _rotate(v[1], 51) ^ v[0]
        v[3] = _rotate(v[3], 48) ^ v[2]
        v[0] = _rotate(v[0], 32)
        v[2] = v[2] + v[1]
        v[0] = v[0] + v[3]
        v[1] = _rotate(v[1], 47) ^ v[2]
        v[3] = _rotate(v[3], 43) ^ v[0]
        v[2] = _rotate(v[2], 32)


# ---- MurmurHash3 ----------------------------------------------------------------------------------------------


def murmur(data: Array, seed: np.uint64) -> Array:
    """MurmurHash3_x86_32 of each row of bytes, in 64 bits."""
    length = data.shape[1]
    h = np.full(len(data), np.uint32(seed & _u(0xFFFFFFFF)))
    for place in range(0, length, 4):
        word = _word(data, place, min(4, length - place)).astype(np.uint32)
        h = h ^ (_left(word * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593))
        if place + 4 <= length:
            h = _left(h, 13) * np.uint32(5) + np.uint32(0xE6546B64)
    h = h ^ np.uint32(length)
    for right, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = (h ^ (h >> np.uint32(right))) * np.uint32(factor)
    return h.astype(np.uint64)


def _left(x: Array, by: int) -> Array:
    """32 bits turned to the left."""
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))
