"""Plants each mistake of mutants.txt in a copy of csrc and runs the op's tests on the emulator's check build.

    python -m tests.emulator.mutate [text in the mutants' names]

The command fails if a mutant survives. The full run takes some minutes; CI runs one of them (tests/test_mutants.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.build import HERE, ROOT, build, compile_commands, emulator_environment
from tests.emulator.mutants import MUTANTS, Mutant
from tests.gates.sources import pytest_arguments

TIMEOUT = 600.0


@dataclass(frozen=True)
class Outcome:
    """How a mutant ended: "emulator" (it reported the mistake), "values" (a test saw wrong numbers), or "SURVIVED"."""

    mutant: Mutant
    verdict: str
    message: str

    @property
    def caught(self) -> bool:
        return self.verdict in ("emulator", "values")


def build_mutant(mutant: Mutant, folder: Path) -> Path:
    """The module with the mistake: only what includes the changed file is compiled anew."""
    build("check")
    csrc = folder / "csrc"
    shutil.copytree(ROOT / "csrc", csrc)
    changed = csrc / "cuda" / mutant.file
    changed.write_text(mutant.apply(changed.read_text()))
    objects = []
    for command in compile_commands("check"):
        if mutant.file in command.includes and command.group == "kernels":
            target = folder / (Path(command.target).name)
            line = command.line.replace(f"-I{ROOT / 'csrc'}", f"-I{csrc}").replace(command.target, str(target))
            source = csrc / "cuda" / command.source.name
            subprocess.run(f"{line.replace(str(command.source), str(source))} -w", shell=True, check=True, cwd=folder)
            objects.append(str(target))
        else:
            objects.append(command.target)
    module = folder / "_cuda.so"
    cxx = os.environ.get("CXX", "c++")
    subprocess.run([cxx, "-shared", "-Wl,-Bsymbolic", *objects, "-o", str(module), "-ldl"], check=True)
    return module


def run_tests(mutant: Mutant, module: Path) -> Outcome:
    """The op's tests against the mutant, until the first one fails."""
    env = emulator_environment(HGFAST_EMULATOR_MODULE=str(module), HGFAST_EMULATOR_VARIANT="check")
    command = [sys.executable, "-m", "pytest", *pytest_arguments(mutant.file), "--device", "emulator", "-x", "-q"]
    try:
        result = subprocess.run(
            [*command, "-p", "no:cacheprovider"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return Outcome(mutant, "emulator", f"no end within {TIMEOUT} s")
    found = re.search(r"EmulatorError: (emulator: .*)", result.stdout)
    if result.returncode == 0:
        return Outcome(mutant, "SURVIVED", "")
    if result.returncode != 1:
        return Outcome(mutant, "BROKEN", result.stdout[-2000:] + result.stderr[-2000:])
    if found:
        return Outcome(mutant, "emulator", found.group(1))
    error = re.search(r"^E +(.*)", result.stdout, re.M)
    return Outcome(mutant, "values", error.group(1) if error else "")


def try_mutant(mutant: Mutant) -> Outcome:
    """Build it and test it."""
    (HERE / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE / "build") as folder:
        return run_tests(mutant, build_mutant(mutant, Path(folder)))


def main() -> int:
    """Run all mutants whose names have the text; 1 if any survives."""
    wanted = " ".join(sys.argv[1:])
    outcomes = []
    for mutant in MUTANTS:
        if wanted not in mutant.name:
            continue
        outcome = try_mutant(mutant)
        outcomes.append(outcome)
        print(f"{outcome.verdict:9} {mutant.name}: {outcome.message[:260]}", flush=True)
    caught = [outcome for outcome in outcomes if outcome.caught]
    by_emulator = sum(outcome.verdict == "emulator" for outcome in outcomes)
    print(f"{len(caught)} of {len(outcomes)} caught, {by_emulator} of them named by the emulator")
    return len(caught) != len(outcomes)


if __name__ == "__main__":
    sys.exit(main())
