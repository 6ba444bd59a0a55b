"""What README and docs say of a GPU, and the verdict lines of `python -m benchmarks.device`: none without the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.device.__main__ import NAMES
from benchmarks.device.verdicts import CLAIMS

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/gpu.md", "docs/notebook.md", "docs/performance.md", "docs/status.md")
TABLE = "| claim | decided by stage |"
GPU_WORDS = re.compile(r"CUDA|GPU|H100|A100|Hopper|cuDNN|\bcards?\b|sm_\d")

# Passages that speak of GPUs and promise nothing that a run on one could decide, by their first words.
# What a build, a command or a variable does: tests without a card hold it.
HOW_IT_WORKS = (
    "Linux, Python 3.10 or newer",
    "The first command compiles the kernels",
    "| folder | what is in it |",
    "# Running on a GPU",
    "It needs torch with CUDA",
    "| stage | what it does | record |",
    "What a new card would most likely show wrong comes first.",
    "A kernel is judged by its cold time",
    TABLE,
    "Nothing is tried while a CUDA graph is captured",
    "Timing is the default because the estimates have never met a card",
    "`hgfast info` says which kernels a card can run",
    "| variable | what it does |",
    "- Normalising a batch of 64 crops",
    "So `recompute` changes nothing for Newell's networks on the CPU",
)
# That nothing was measured, and what was predicted: the benches give the figures, and the words claim none.
PREDICTIONS = (
    "How fast hgfast is beside what else there is",
    "On CUDA, counted and not measured",
    "The stem (7x7 of 3 channels) copies the input under 8 x 16 results",
    "Status: on the CPU every operation is right",
    "Before the first launch of a kernel with dynamic shared memory",
    "So 1.37 times eager and 1.46 times torch.compile",
    "The last column supposes that an H100 trains",
    "## CUDA convolutions (predictions, not yet run on a GPU)",
    "The kernels are `csrc/cuda/conv_*.cuh`",
    "Strided inputs are copied by TMA's im2col maps",
    "Registers (sm_80 / sm_90a, half types, no spills)",
    "Shared memory that the driver is asked for",
    "Operators called by themselves",
    "### The whole pre-activation bottleneck (predictions, never run on a GPU)",
    "`csrc/cuda/bottleneck_kernel.cuh`: BN-ReLU",
    "Registers (sm_80 / sm_90a, no spills, 128 threads)",
    "### BatchNorm in training (predictions, never run on a GPU)",
    "### Training steps as CUDA graphs (predictions, never run on a GPU)",
    "### Merges, pools, flip averages (predictions, never run on a GPU)",
    "A thread of `upsample_add` and `max_pool`, forward and backward",
    "Threads of 28 to 56 registers fill a multiprocessor",
    "### Decoding on CUDA (predictions, never run on a GPU)",
    "Sixteen channels_last maps an image are two blocks",
    "The step of DARK and UDP takes its five logarithms",
    "The loads are counted in the machine code of sm_80",
    "A third of the rate of tf32",
    "CUDA: one block of 128 threads a map",
    "<!-- speed --> CUDA kernels: not yet run on a GPU.",
)
# What torch and cuDNN do by themselves.
OF_OTHERS = ("Weights are contiguous, so that LBFGS", "**Layout of weights.**")


def one_line(text: str) -> str:
    return " ".join(text.split())


def passages(document: str) -> Iterator[str]:
    """Paragraphs, list items and tables that speak of GPUs, each as one line; code and records of runs are none."""
    text = (ROOT / document).read_text()
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    for block in re.split(r"\n\s*\n|\n(?=- )", text):
        if GPU_WORDS.search(block):
            yield one_line(block)


def promises(document: str) -> list[str]:
    """Words that a claim stands for."""
    said = (words for claim in CLAIMS for words in claim.said)
    return [one_line(words.split(": ", 1)[1]) for words in said if words.startswith(f"{document}: ")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_passage_about_a_gpu_has_its_verdict(document: str) -> None:
    """Or is listed above among those that promise nothing. A new one is to be looked at."""
    nothing = (*HOW_IT_WORKS, *PREDICTIONS, *OF_OTHERS)
    for passage in passages(document):
        claimed = any(words in passage for words in promises(document))
        listed = passage.startswith(nothing)
        assert claimed or listed, f"{document} says of a GPU what no claim of benchmarks/device decides: {passage}"
        assert not (claimed and listed), f"{document}: a passage that promises nothing has a claim: {passage}"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_each_verdict_belongs_to_what_is_said(claim) -> None:
    """Its words stand where it says they do."""
    for words in claim.said:
        document, text = words.split(": ", 1)
        assert one_line(text) in one_line((ROOT / document).read_text()), f"{document} does not say {text!r}"


def test_the_table_of_claims_is_that_of_the_command() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text()
    _, *rows = text.split(TABLE, 1)[1].split("\n\n", 1)[0].strip().splitlines()
    found = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
    assert found == [(claim.text, claim.by) for claim in CLAIMS]
    assert {stage for claim in CLAIMS for stage in claim.by.split(", ")} <= set(NAMES)


def test_no_passage_is_listed_that_is_not_there() -> None:
    found = [passage for document in DOCUMENTS for passage in passages(document)]
    listed = (*HOW_IT_WORKS, *PREDICTIONS, *OF_OTHERS)
    assert [words for words in listed if not any(passage.startswith(words) for passage in found)] == []
