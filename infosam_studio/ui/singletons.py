"""Keeps Python 3.11 alive under a PySide6 that was built for immortal singletons.

PySide6 6.12 returns None, True, False and NotImplemented without taking a reference, which is
right from Python 3.12 on, where they are immortal. On 3.11 every call without a result costs
None one reference; after some ten thousand the interpreter aborts ("deallocating None").
"""

from __future__ import annotations

import ctypes
import sys

# Enough for many years of calls, far from overflow.
SPARE = 1 << (60 if sys.maxsize > 2**32 else 28)


def protect_singletons() -> None:
    """Give the four singletons spare references where they are not immortal."""
    if sys.version_info >= (3, 12) or sys.implementation.name != "cpython":
        return
    for one in (None, True, False, NotImplemented):
        # A CPython object begins with its reference count.
        if sys.getrefcount(one) < SPARE:
            ctypes.c_ssize_t.from_address(id(one)).value += SPARE
