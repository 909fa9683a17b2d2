"""Skia on Linux without OpenGL's libraries, as in slim containers: empty libraries stand in for them.

Skia's extension module links ``libGL.so.1`` and ``libEGL.so.1``, so that Python cannot load it where they are missing,
although it paints in memory here and never calls them. A library of the same name that knows their functions' names,
and says that none is there, is all that the loader asks for; it is written when needed, and only then.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

OPENGL = ("libGL.so.1", "libEGL.so.1")

# The ELF format, 64 bits, little-endian (System V ABI, chapters 4 and 5): header, section, segment, symbol, dynamic.
_HEADER, _SECTION, _SEGMENT, _SYMBOL, _DYNAMIC = "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IIQQQQQQ", "<IBBHQQ", "<QQ"
_MAGIC = b"\x7fELF\2\1\1"
_DYNSYM, _ABSOLUTE, _GLOBAL_FUNCTION = 11, 0xFFF1, 0x12


def stand_in(module: str, libraries: Iterable[str]) -> bool:
    """Load an empty library for each of ``libraries`` that ``module`` links and the system lacks; False where none."""
    spec = importlib.util.find_spec(module)
    if sys.platform != "linux" or spec is None or spec.origin is None:
        return False
    lacking = [name for name in libraries if not _loads(name)]
    asked = _asked_for(Path(spec.origin).read_bytes(), (b"gl", b"egl")) if lacking else None
    if asked is None:
        return False
    machine, names = asked
    with tempfile.TemporaryDirectory(prefix="allmasked-") as folder:
        for name in lacking:
            file = Path(folder) / name
            file.write_bytes(_library(name.encode(), machine, names))
            if not _loads(str(file)):  # and it stays loaded when the file is gone
                return False
    return True


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _asked_for(module: bytes, prefixes: tuple[bytes, ...]) -> tuple[int, list[bytes]] | None:
    """An extension module's kind of processor, and the functions it wants of others; None if it is none of ours."""
    if not module.startswith(_MAGIC):
        return None
    header = struct.unpack_from(_HEADER, module)
    machine, start, count = header[2], header[6], header[12]
    sections = list(struct.iter_unpack(_SECTION, module[start : start + count * struct.calcsize(_SECTION)]))
    symbols = next((section for section in sections if section[1] == _DYNSYM), None)
    if symbols is None:
        return None
    table, strings = (module[section[4] : section[4] + section[5]] for section in (symbols, sections[symbols[6]]))
    lacking = [row[0] for row in struct.iter_unpack(_SYMBOL, table) if not row[3]]
    names = [strings[at : strings.index(b"\0", at)] for at in lacking]
    return machine, [name for name in names if name.startswith(prefixes)]


def _library(name: bytes, machine: int, functions: Sequence[bytes]) -> bytes:
    """The smallest shared library of that name in which each of ``functions`` stands, at address 0: not there."""
    strings, places = b"\0", []
    for text in (name, *functions):
        places.append(len(strings))
        strings += text + b"\0"
    row = struct.Struct(_SYMBOL)
    symbols = bytes(row.size) + b"".join(row.pack(at, _GLOBAL_FUNCTION, 0, _ABSOLUTE, 0, 0) for at in places[1:])
    count = len(functions) + 1
    hashes = struct.pack(f"<{3 + count}I", 1, count, count - 1, 0, *range(count - 1))  # one bucket: all, last to first
    first = struct.calcsize(_HEADER) + 3 * struct.calcsize(_SEGMENT)
    second = first + len(symbols)
    third = second + len(hashes)
    last = -(-(third + len(strings)) // 8) * 8
    entries = ((14, places[0]), (4, second), (5, third), (6, first), (10, len(strings)), (11, row.size), (0, 0))
    dynamic = b"".join(struct.pack(_DYNAMIC, *entry) for entry in entries)  # name, hashes, strings, symbols, sizes, end
    size = last + len(dynamic)
    header = struct.pack(_HEADER, _MAGIC, 3, machine, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    segments = (
        (1, 6, 0, 0, 0, size, size, 1 << 16),  # the file: to read and write, nothing in it to run
        (2, 6, last, last, last, len(dynamic), len(dynamic), 8),  # the dynamic table
        (0x6474E551, 6, 0, 0, 0, 0, 0, 16),  # a stack that cannot be run
    )
    parts = header + b"".join(struct.pack(_SEGMENT, *segment) for segment in segments) + symbols + hashes + strings
    return parts.ljust(last, b"\0") + dynamic
