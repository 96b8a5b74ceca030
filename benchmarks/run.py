"""All measurements of docs/performance.md, one after the other, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

COMMANDS = (
    ("imports.py",),
    ("dispatch.py",),
    ("progress.py",),
    ("events.py",),
    ("bridges.py",),
    ("fit.py", "--threads", "1"),
    ("fit.py", "--threads", "2"),
    ("fit_tensorboard.py",),
    ("fit_jax.py",),
    ("keras_fit.py", "--backend", "tensorflow"),
    ("keras_fit.py", "--backend", "jax"),
    ("keras_fit.py", "--backend", "torch"),
    ("checkpoints.py",),
    ("backup.py",),
    ("reports.py",),
)


def main():
    here = Path(__file__).parent
    for name, *arguments in COMMANDS:
        subprocess.run([sys.executable, str(here / name), *arguments, *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
