"""How many of the lines that only a GPU reaches run on the fake devices (pip install coverage).

    python -m tests.fake_cuda.cover [--data FOLDER] [--cases N]

CUDA-only lines are those of files in hgfast and benchmarks/device which name CUDA, that the tests without the fixture
`gpu` do not execute on a machine without a GPU. They are held against the tests with that fixture. FOLDER keeps what is
measured, and what is there is not measured again. The command lists the lines that nobody runs, and fails below 95%.

Of the tests without the fixture the first N cases of each function run, by default all; one case takes a quarter of the
time. What only the others execute then counts as CUDA's, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[2]
LEAST = 0.95
SETTINGS = """[run]
source = hgfast, benchmarks
parallel = true
patch = subprocess, _exit
sigterm = true
[report]
exclude_also =
    if TYPE_CHECKING:
    if __name__ == .__main__.:
"""


def concerned() -> Iterator[Path]:
    """The files that have to do with CUDA."""
    for path in sorted([*(ROOT / "hgfast").rglob("*.py"), *(ROOT / "benchmarks/device").glob("*.py")]):
        if "cuda" in path.read_text().lower() and path.stat().st_size:
            yield path


def chosen_tests(kind: str, cases: int) -> list[str]:
    """The first `cases` of each test function, as pytest names them; all tests where it is 0."""
    if not cases:
        return ["tests"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", "--gpu", kind, "tests"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [line for line in listing.splitlines() if "::" in line]
    seen: Counter[str] = Counter()
    chosen = []
    for name in names:
        function = name.split("[")[0]
        seen[function] += 1
        chosen += [name] * (seen[function] <= cases)
    return chosen


def measure(folder: Path, kind: str, cases: int = 0) -> coverage.Coverage:
    """Run the tests with the fixture (kind "only") or "without" it; their failures are shown, and are no obstacle."""
    settings, data, tests = folder / "coveragerc", folder / kind, folder / f"{kind}.tests"
    settings.write_text(SETTINGS)
    if not data.exists():
        env = {**os.environ, "COVERAGE_FILE": str(data)}
        tests.write_text("\n".join(chosen_tests(kind, cases)))
        run = [
            "run",
            f"--rcfile={settings}",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--gpu",
            kind,
            f"@{tests}",
        ]
        subprocess.run([sys.executable, "-m", "coverage", *run], cwd=ROOT, env=env)
        subprocess.run([sys.executable, "-m", "coverage", "combine", "-q", f"--rcfile={settings}"], cwd=ROOT, env=env)
    found = coverage.Coverage(data_file=str(data), config_file=str(settings))
    found.load()
    return found


def missing(found: coverage.Coverage, path: Path) -> set[int]:
    """Lines of a file with statements that were not executed."""
    return set(found.analysis2(str(path))[3])


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--cases", type=int, default=0)
    options = parser.parse_args()
    folder = (options.data or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    without, only = measure(folder, "without", options.cases), measure(folder, "only")
    total = left = 0
    for path in concerned():
        cuda = missing(without, path)
        rest = sorted(cuda & missing(only, path))
        total, left = total + len(cuda), left + len(rest)
        if rest:
            print(f"{path.relative_to(ROOT)}: {', '.join(map(str, rest))}")
    print(f"{total - left} of {total} CUDA-only lines run on the fake devices: {1 - left / max(total, 1):.1%}")
    return total - left < LEAST * total


if __name__ == "__main__":
    sys.exit(main())
