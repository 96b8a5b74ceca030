"""What a backup in every epoch costs of the tutorial's run."""

import argparse
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from fit import DEMO_DATA, by_fit, mnist
from measure import interleaved, machine, show

import callboard
from callboard import callbacks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEMO_DATA)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", callboard.ConfigurationWarning)
    data = mnist(options.data)
    with tempfile.TemporaryDirectory() as folder:

        def backup():
            shutil.rmtree(Path(folder, "backup"), ignore_errors=True)
            return [callbacks.BackupAndRestore(Path(folder, "backup"))]

        contenders = {
            "Model.fit": by_fit(*data),
            "Model.fit, BackupAndRestore": by_fit(*data, eight=backup),
        }
        seconds = interleaved(contenders, options.repetitions)
    show(f"a backup every epoch; {machine()}", seconds, "Model.fit")


if __name__ == "__main__":
    main()
