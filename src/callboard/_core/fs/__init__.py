"""Every file operation of the package goes through here.

One layer, so that the durability rules stand in one place and a test can put a simulated disk
beneath all writers. Nothing else in the package opens a file for writing, renames or syncs.
"""

from callboard._core.fs.disk import BLOCK, Disk, NewFile
from callboard._core.fs.durable import sync
from callboard._core.fs.files import (
    append,
    create,
    cut_back,
    is_removed,
    remove,
    replacing,
    replacing_by_path,
    writable_file,
)

__all__ = [
    "BLOCK",
    "Disk",
    "NewFile",
    "append",
    "create",
    "cut_back",
    "is_removed",
    "remove",
    "replacing",
    "replacing_by_path",
    "sync",
    "writable_file",
]
