"""Where a loaded ELF library keeps the address of a function that it calls, and how to change it.

A library calls functions of other libraries through slots of its global offset table, one per function, that the
dynamic loader fills in. The relocations of the library's dynamic section say which slot belongs to which name.
Format: ELF-64 object file format, version 1.5; `struct link_map`: glibc's <link.h>.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path

_RTLD_DI_LINKMAP = 2
_DT_NULL, _DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 0, 2, 5, 6, 7, 8, 23
_SLOT_KINDS = frozenset({6, 7, 1025, 1026})
"""GLOB_DAT and JUMP_SLOT of x86-64, then of aarch64."""
_PROT_READ_WRITE = 0x1 | 0x2
_PROT_READ = 0x1


class _LinkMap(ctypes.Structure):
    _fields_ = (("base", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_void_p))


class _Dynamic(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_int64), ("value", ctypes.c_uint64))


class _Symbol(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_uint32),
        ("info", ctypes.c_uint8),
        ("other", ctypes.c_uint8),
        ("section", ctypes.c_uint16),
        ("value", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
    )


class _Relocation(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("info", ctypes.c_uint64), ("addend", ctypes.c_int64))


def find_slots(library: ctypes.CDLL, function: str) -> list[int]:
    """Addresses of the slots through which a library calls a function of another one; OSError if it cannot be read."""
    link_map = _link_map(library)
    table = dict(_dynamic_entries(link_map))
    strings, symbols = _pointer(link_map, table[_DT_STRTAB]), _pointer(link_map, table[_DT_SYMTAB])
    wanted = function.encode()
    slots = []
    for relocation in _relocations(link_map, table):
        if relocation.info & 0xFFFFFFFF not in _SLOT_KINDS:
            continue
        symbol = _Symbol.from_address(symbols + (relocation.info >> 32) * ctypes.sizeof(_Symbol))
        if ctypes.string_at(strings + symbol.name) == wanted:
            slots.append(link_map.base + relocation.offset)
    return slots


def read_slot(slot: int) -> int:
    """The address in a slot."""
    return ctypes.c_uint64.from_address(slot).value


def write_slot(slot: int, address: int) -> None:
    """Put an address into a slot, whose page is as protected afterwards as it was; OSError if the system refuses."""
    if _is_writable(slot):
        ctypes.c_uint64.from_address(slot).value = address
        return
    _protect(slot, _PROT_READ_WRITE)
    ctypes.c_uint64.from_address(slot).value = address
    _protect(slot, _PROT_READ)


def _link_map(library: ctypes.CDLL) -> _LinkMap:
    found = ctypes.POINTER(_LinkMap)()
    process = ctypes.CDLL(None)
    if process.dlinfo(ctypes.c_void_p(library._handle), _RTLD_DI_LINKMAP, ctypes.byref(found)) != 0:
        raise OSError("the dynamic loader does not know the library")
    return found.contents


def _dynamic_entries(link_map: _LinkMap) -> Iterator[tuple[int, int]]:
    address = link_map.dynamic
    while (entry := _Dynamic.from_address(address)).tag != _DT_NULL:
        yield entry.tag, entry.value
        address += ctypes.sizeof(_Dynamic)


def _pointer(link_map: _LinkMap, value: int) -> int:
    """An address of the dynamic section: glibc relocates it in place on some processors and not on others."""
    return value if value >= link_map.base else link_map.base + value


def _relocations(link_map: _LinkMap, table: dict[int, int]) -> Iterator[_Relocation]:
    for where, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        if where in table:
            start = _pointer(link_map, table[where])
            for address in range(start, start + table[size], ctypes.sizeof(_Relocation)):
                yield _Relocation.from_address(address)


def _is_writable(address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions = line.split(maxsplit=2)[:2]
        start, _, end = span.partition("-")
        if int(start, 16) <= address < int(end, 16):
            return "w" in permissions
    return False


def _protect(address: int, protection: int) -> None:
    process = ctypes.CDLL(None, use_errno=True)
    page = address - address % mmap.PAGESIZE
    if process.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), protection) != 0:
        raise OSError(ctypes.get_errno(), "the memory of the library cannot be changed")
