"""What ``import callboard`` costs on top of NumPy, in fresh processes."""

import statistics
import subprocess
import sys

from measure import interleaved, machine

STATEMENTS = {"import numpy": "import numpy", "import numpy, callboard": "import numpy, callboard"}


def main():
    def runner(statement):
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True)

    seconds = interleaved({name: runner(s) for name, s in STATEMENTS.items()}, repetitions=11)
    print(f"\nimport, whole processes; {machine()}")
    for name, times in seconds.items():
        print(f"{name:<28}{statistics.median(times) * 1e3:>8.0f} ms")
    numpy_only, both = seconds.values()
    extra = statistics.median(b - a for a, b in zip(numpy_only, both, strict=True))
    print(f"{'callboard over numpy':<28}{extra * 1e3:>8.0f} ms")


if __name__ == "__main__":
    main()
