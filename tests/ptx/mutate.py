"""Plants each mistake of mutants.txt in a wrapper of PTX and runs tests/test_ptx*.py on the interpreter.

    python -m tests.ptx.mutate [text in the mutants' names]

Every mutant is also given to ptxas, which must accept it: one that it refuses needs no test. The command fails if a
mutant survives, or if one that nothing is said to see is found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.emulator.build import PROBES_FOR_NVCC, ROOT, emulator_environment
from tests.emulator.mutants import Mutant, read_mutants
from tests.emulator.mutate import Outcome
from tests.ptx.build import HERE, NVCC_FLAGS, OUT, PROBES, WRAPPER_TESTS, build, nvcc

MUTANTS = read_mutants(HERE / "mutants.txt")
SCHEDULES = ("forward,lazy", "shuffled,eager,2")
TIMEOUT = 300.0
# Which probes use a header, and which tests run them.
USERS = {
    "ptx/tma.cuh": ("hopper.cu", "tma"),
    "ptx/wgmma.cuh": ("hopper.cu", "wgmma"),
    "ptx/descriptor.cuh": ("hopper.cu", "wgmma"),
    "ptx/barrier.cuh": ("hopper.cu", "barriers or tma_load or tma_im2col"),
    "ptx/copy.cuh": ("matrix.cu", "cp_async or flags"),
    "ptx/matrix.cuh": ("matrix.cu", "matrix or mma"),
}


def build_mutant(mutant: Mutant, folder: Path) -> Path:
    """The probes with the mistake; only the source that has it is compiled anew.

    Raises:
        subprocess.CalledProcessError: nvcc or ptxas refuse it.
    """
    build("probes.so")
    csrc = folder / "csrc"
    shutil.copytree(ROOT / "csrc", csrc)
    changed = csrc / "cuda" / mutant.file
    changed.write_text(mutant.apply(changed.read_text()))
    source, _ = USERS[mutant.file]
    target = folder / f"{source}.o"
    command = f"{nvcc()[0]} {NVCC_FLAGS} -gencode=arch=compute_90a,code=[compute_90a,sm_90a] -Xptxas -O0 -I{csrc}"
    subprocess.run(
        f"{command} -c {PROBES / source} -o {target}", shell=True, check=True, capture_output=True, text=True
    )
    objects = [target, *(OUT / "probes" / f"{name}.o" for name in PROBES_FOR_NVCC if name != source)]
    module = folder / "probes.so"
    cxx = os.environ.get("CXX", "c++")
    interpreter = sorted((OUT / "interpreter").glob("*.o"))
    subprocess.run([cxx, "-shared", "-Wl,-Bsymbolic", *objects, *interpreter, "-o", str(module)], check=True)
    return module


def run_tests(mutant: Mutant, module: Path, schedule: str) -> Outcome:
    """The wrappers' tests against the mutant, until the first one fails."""
    env = emulator_environment(
        HGFAST_PROBES_MODULE=str(module), HGFAST_EMULATOR_SCHEDULE=schedule, HGFAST_PTX_LIMIT="3000000"
    )
    arguments = [*WRAPPER_TESTS, "-x", "-q", "-p", "no:cacheprovider", "-k", USERS[mutant.file][1]]
    command = [sys.executable, "-m", "pytest", *arguments]
    try:
        result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return Outcome(mutant, "BROKEN", f"no end within {TIMEOUT} s")
    if result.returncode == 0:
        return Outcome(mutant, "SURVIVED", "")
    if result.returncode != 1:
        return Outcome(mutant, "BROKEN", result.stdout[-2000:] + result.stderr[-2000:])
    found = re.search(r"emulator: (.*)", result.stdout)
    if found:
        return Outcome(mutant, "emulator", found.group(1))
    error = re.search(r"^E +(.*)", result.stdout, re.M)
    return Outcome(mutant, "values", error.group(1) if error else "")


def try_mutant(mutant: Mutant) -> Outcome:
    """Build it and test it, under one schedule after another until it is found."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        try:
            module = build_mutant(mutant, Path(folder))
        except subprocess.CalledProcessError as error:
            return Outcome(mutant, "REFUSED", str(error.stderr)[-500:])
        for schedule in SCHEDULES:
            outcome = run_tests(mutant, module, schedule)
            if outcome.verdict != "SURVIVED":
                break
        return outcome


def as_expected(outcome: Outcome) -> bool:
    """Whether a mutant ended as the table says."""
    return outcome.verdict == "SURVIVED" if outcome.mutant.unseen else outcome.caught


def main() -> int:
    """Run all mutants whose names have the text; 1 if any does not end as the table says."""
    wanted = " ".join(sys.argv[1:])
    outcomes = []
    for mutant in MUTANTS:
        if wanted not in mutant.name:
            continue
        outcome = try_mutant(mutant)
        outcomes.append(outcome)
        mark = "" if as_expected(outcome) else "UNEXPECTED: "
        print(f"{mark}{outcome.verdict:9} {mutant.name}: {outcome.message[:260] or mutant.unseen}", flush=True)
    caught = sum(outcome.caught for outcome in outcomes)
    unseen = sum(bool(outcome.mutant.unseen) for outcome in outcomes)
    print(f"{caught} of {len(outcomes)} caught; {unseen} are said to be seen by nothing")
    return int(not all(as_expected(outcome) for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
