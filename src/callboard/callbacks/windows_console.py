"""The console of Windows: having it understand control sequences."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
from typing import Any, TextIO

__all__ = ["ON_WINDOWS", "takes_sequences"]

ON_WINDOWS = os.name == "nt"

_PROCESSED_OUTPUT, _VIRTUAL_TERMINAL = 0x1, 0x4


def takes_sequences(stream: TextIO) -> bool:
    """Say whether a console moves its cursor by control sequences, after asking it to.

    That of Windows 10 and later can, and does for programs that ask; older ones, and the "legacy
    console" of the settings, cannot. What was asked for is taken back when the program ends.

    Args:
        stream: What the program writes to.

    Returns:
        False also where the stream is no console: a file, a pipe, a window of Git Bash.

    Source: https://learn.microsoft.com/windows/console/setconsolemode
    """
    kernel32 = _kernel32()
    try:
        handle = ctypes.c_void_p(importlib.import_module("msvcrt").get_osfhandle(stream.fileno()))
    except (AttributeError, OSError, ValueError):  # a stream that is in memory, or closed
        return False
    mode = ctypes.c_ulong()
    if not kernel32.GetConsoleMode(handle, ctypes.byref(mode)):
        return False
    before = mode.value
    if before & _VIRTUAL_TERMINAL:
        return True
    if not kernel32.SetConsoleMode(handle, before | _PROCESSED_OUTPUT | _VIRTUAL_TERMINAL):
        return False
    atexit.register(kernel32.SetConsoleMode, handle, before)
    return True


def _kernel32() -> Any:
    return vars(ctypes)["WinDLL"]("kernel32")
