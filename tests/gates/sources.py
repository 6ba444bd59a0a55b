"""The table of CUDA sources: one line a file, which its kernels' author adds.

`tests`: pytest arguments that exercise the file's kernels (on the emulator; the check build and the mutants use them).
`sass`: the instructions that must be there, see INSTRUCTIONS.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One csrc/cuda/*.cu and the headers that are its own."""

    tests: str
    sass: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


SOURCES = {
    "upsample_add.cu": Source("tests/test_upsample_add.py -k forward|gradient", ("wide",), ("pack.cuh",)),
    "gaussian_heatmaps.cu": Source("tests/test_gaussian_heatmaps.py", ("wide_store",)),
    "keypoint_mse.cu": Source("tests/test_keypoint_mse.py", ("wide",), ("reduce.cuh",)),
    "batch_norm_act.cu": Source("tests/test_batch_norm_act.py", ("wide",), ("batch_norm_rows.cuh", "octet.cuh")),
    "batch_norm_act_backward.cu": Source("tests/test_batch_norm_act.py", ("wide",)),
    "flip_merge.cu": Source("tests/test_flip.py", ("wide_store",)),
    "soft_argmax.cu": Source("tests/test_soft_argmax.py", ("wide_load",)),
    "decode_heatmaps.cu": Source(
        "tests/test_decode_heatmaps.py", ("wide_load",), ("decode_blur.cuh", "decode_peak.cuh", "heatmap_reader.cuh")
    ),
}

# name -> architecture -> patterns of SASS instructions, each of which must occur in the file's code
INSTRUCTIONS = {
    "wide": {"80": (r"LDG\.E\S*\.128", r"STG\.E\S*\.128"), "90a": (r"LDG\.E\S*\.128", r"STG\.E\S*\.128")},
    "wide_load": {"80": (r"LDG\.E\S*\.128",), "90a": (r"LDG\.E\S*\.128",)},
    "wide_store": {"80": (r"STG\.E\S*\.128",), "90a": (r"STG\.E\S*\.128",)},
    "mma": {"80": ("HMMA", "LDSM", "LDGSTS"), "90a": ("HMMA", "LDSM", "LDGSTS")},
    "wgmma": {"90a": ("HGMMA", "UTMALDG")},
}


def pytest_arguments(header: str) -> list[str]:
    """pytest arguments for a file of csrc/cuda: those of the source of its name, or of the one that lists it."""
    for name, source in SOURCES.items():
        if header in (name, f"{name}h", *source.headers):
            file, *rest = source.tests.split(" -k ")
            return [file, *(["-k", rest[0].replace("|", " or ")] if rest else [])]
    raise KeyError(f"{header} is in no line of tests/gates/sources.py")
