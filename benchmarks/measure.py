"""Measuring contenders side by side: interleaved, medians, ratios."""

import os
import platform
import statistics
import time


def interleaved(contenders, repetitions=5):
    """Return for each contender its seconds, one for each repetition.

    Args:
        contenders: Functions by name. Each is called once before, to be warm.
        repetitions: Rounds; in each, every contender runs once.
    """
    for run in contenders.values():
        run()
    seconds = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def show(title, seconds, reference, *, unit="s", scale=1.0):
    """Print medians, and the ratio of the reference's time to each contender's, round by round."""
    print(f"\n{title}")
    print(f"{'contender':<44}{'median':>10} {unit:<5}{'min':>9}{'speed':>9}")
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds[reference], times, strict=True)]
        print(
            f"{name:<44}{statistics.median(times) * scale:>10.3f} {unit:<5}"
            f"{min(times) * scale:>9.3f}{statistics.median(ratios):>8.2f}x"
        )


def machine():
    """Return what this machine is, in general terms."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.machine()}, {cores} cores, {pages / 2**30:.0f} GiB, "
        f"Python {platform.python_version()}"
    )
