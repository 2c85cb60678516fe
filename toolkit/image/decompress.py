"""One compressed block made plain again, by the libraries that erofs-utils and zstd themselves are linked with."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from ..errors import ToolError

Decompress = Callable[[bytes, int], bytes]


def lz4(block: bytes, length: int) -> bytes:
    """The ``length`` bytes that an LZ4 block holds. Raises ValueError when it does not, ToolError without liblz4."""
    out = ctypes.create_string_buffer(length)
    done = _library("liblz4.so.1").LZ4_decompress_safe(block, out, len(block), length)
    if done != length:
        raise ValueError("it does not decompress")
    return out.raw


def lz4_most(block: bytes, most: int) -> bytes:
    """What an LZ4 block holds, at most so many bytes. Raises ValueError when that is more, ToolError without liblz4."""
    out = ctypes.create_string_buffer(most)
    done = _library("liblz4.so.1").LZ4_decompress_safe(block, out, len(block), most)
    if done < 0:
        raise ValueError("it does not decompress")
    return out.raw[:done]


def zstd(block: bytes, length: int) -> bytes:
    """The ``length`` bytes that a Zstandard frame holds. Raises ValueError, ToolError without libzstd."""
    library = _library("libzstd.so.1")
    decompress = library.ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(length)
    done = decompress(out, ctypes.c_size_t(length), block, ctypes.c_size_t(len(block)))
    if done != length:
        raise ValueError("it does not decompress")
    return out.raw


@cache
def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise ToolError(f"{name}, which reads compressed images, is not installed", hint=_HINTS[name]) from error


_HINTS = {"liblz4.so.1": "apt-get install liblz4-1", "libzstd.so.1": "apt-get install libzstd1"}
