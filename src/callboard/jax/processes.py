"""Several processes that train one state, as ``jax.distributed`` starts them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from callboard._core.logs import Logs, Mean, plain
from callboard.jax.leaves import leaves_of

__all__ = ["is_shared", "reduced"]


def is_shared(state: Any) -> bool:
    """Say whether arrays of a state lie on devices of other processes too."""
    return jax.process_count() > 1 and any(
        isinstance(leaf.value, jax.Array) and not leaf.value.is_fully_addressable
        for leaf in leaves_of(state)
    )


def reduced(logs: Logs) -> Logs:
    """Return metrics over the samples of all processes; all of them have to call this.

    Means are taken over all samples, other values are averaged over the processes. What is computed
    from arrays over all devices is the same in each of them, and stays so.
    """
    from jax.experimental import multihost_utils  # noqa: PLC0415 - only with several processes

    names = sorted(name for name, value in logs.unread.items() if _is_number(value))
    pairs = [
        (float(value.total), float(value.weight)) if isinstance(value, Mean) else (plain(value), 1)
        for value in map(logs.unread.__getitem__, names)
    ]
    own = np.array(pairs, np.float64).reshape(-1, 2)
    # As integers: JAX would make float32 of float64.
    gathered = multihost_utils.process_allgather(own.view(np.uint32))
    totals, weights = np.asarray(gathered).view(np.float64).sum(axis=0).T
    with np.errstate(invalid="ignore"):
        means = np.where(weights == 0, np.nan, totals / weights)
    return Logs({**logs.unread, **dict(zip(names, means.tolist(), strict=True))})


def _is_number(value: object) -> bool:
    return isinstance(value, Mean) or isinstance(plain(value), float)
