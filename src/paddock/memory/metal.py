"""How much of an Apple silicon machine's memory Metal recommends to use, without asking Metal.

`MTLDevice.recommendedMaxWorkingSetSize` follows a rule that users can change: two thirds of the memory on machines of
up to 36 GiB, three quarters on larger ones, or what the setting `iogpu.wired_limit_mb` says if it is not 0.
"""

from __future__ import annotations

import ctypes
import ctypes.util

MIB = 1024 * 1024
_SMALL_BYTES = 36 * 1024 * MIB
_SETTING = b"iogpu.wired_limit_mb"


def working_set_bytes(total_bytes: int, wired_limit_mb: int) -> int:
    """What Metal recommends to use at most; `wired_limit_mb` is the setting, 0 for none."""
    if wired_limit_mb > 0:
        return min(wired_limit_mb * MIB, total_bytes)
    return total_bytes * 2 // 3 if total_bytes <= _SMALL_BYTES else total_bytes * 3 // 4


def wired_limit_mb() -> int:
    """The setting as it is; 0 where there is none."""
    name = ctypes.util.find_library("c")
    if name is None:
        return 0
    library = ctypes.CDLL(name)
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    try:
        failed = library.sysctlbyname(_SETTING, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    except AttributeError:  # not macOS
        return 0
    return 0 if failed else max(0, value.value)
