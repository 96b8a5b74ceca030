import errno
import os

import numpy as np
import pytest

from callboard.events import projector


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_full_disk_leaves_the_points_that_were_there(open_writer, tmp_path, monkeypatch):
    writer = open_writer()
    writer.add_embedding("points", np.zeros((4, 2)))
    writer.flush()
    before = contents(tmp_path)

    def full(points):
        yield "1\t1\n"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(projector, "_table", full)
        with pytest.raises(OSError, match="No space left"):
            writer.add_embedding("points", np.ones((4, 2)))
    assert contents(tmp_path) == before
    writer.add_embedding("points", np.ones((4, 2)))
    assert contents(tmp_path) != before
