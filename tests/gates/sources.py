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


CONV = "tests/test_conv_cuda.py"
SOURCES = {
    "upsample_add.cu": Source(
        "tests/test_upsample_add.py -k forward|gradient", ("wide",), ("pack.cuh", "cells.cuh", "divisor.cuh")
    ),
    "gaussian_heatmaps.cu": Source("tests/test_gaussian_heatmaps.py", ("wide_store",)),
    "keypoint_mse.cu": Source("tests/test_keypoint_mse.py", ("wide",), ("reduce.cuh",)),
    "batch_norm_act.cu": Source("tests/test_batch_norm_act.py", ("wide",), ("octet.cuh",)),
    "batch_norm_act_backward.cu": Source(
        "tests/test_batch_norm_sums.py",
        ("wide",),
        ("batch_norm_rows.cuh", "batch_norm_sums.cuh", "batch_norm_chunks.h"),
    ),
    "flip_merge.cu": Source("tests/test_flip.py", ("wide",)),
    "heatmap_peaks.cu": Source("tests/test_heatmap_peaks.py"),
    "soft_argmax.cu": Source("tests/test_soft_argmax.py", ("wide_load",)),
    "decode_heatmaps.cu": Source(
        "tests/test_decode_heatmaps.py", ("wide_load",), ("decode_blur.cuh", "decode_peak.cuh", "heatmap_reader.cuh")
    ),
    "bottleneck.cu": Source("tests/test_bottleneck.py", (), ("bottleneck_choice.cuh",)),
    "bottleneck_mma.cu": Source(
        "tests/test_bottleneck_cuda.py", ("mma", "wide"), ("bottleneck_args.cuh", "bottleneck_kernel.cuh")
    ),
    "bottleneck_wgmma.cu": Source("tests/test_bottleneck_cuda.py -k wgmma", ("wgmma_registers",)),
    "conv.cu": Source("tests/test_conv_cuda_calls.py", (), ("conv_choice.cuh", "conv_pack.cuh", "device.cuh")),
    "conv_small.cu": Source(
        f"{CONV} -k few_channels|stem", ("mma", "wide_store"), ("conv_patch.cuh", "conv_plain.cuh")
    ),
    "conv_mma.cu": Source(
        f"{CONV} -k mma|split|odd",
        ("mma", "wide"),
        ("conv_args.cuh", "conv_epilogue.cuh", "conv_splitk.cuh", "mma.cuh", "swizzle.cuh"),
    ),
    "conv_wgmma.cu": Source(
        f"{CONV} -k wgmma|split|extra", ("wgmma",), ("conv_box.cuh", "conv_wgmma_args.cuh", "tensor_map.cuh")
    ),
    "max_pool.cu": Source("tests/test_max_pool.py", ("wide",)),
}

# name -> architecture -> patterns of SASS instructions, each of which must occur in the file's code
INSTRUCTIONS = {
    "wide": {"80": (r"LDG\.E\S*\.128", r"STG\.E\S*\.128"), "90a": (r"LDG\.E\S*\.128", r"STG\.E\S*\.128")},
    "wide_load": {"80": (r"LDG\.E\S*\.128",), "90a": (r"LDG\.E\S*\.128",)},
    "wide_store": {"80": (r"STG\.E\S*\.128",), "90a": (r"STG\.E\S*\.128",)},
    "mma": {"80": ("HMMA", "LDSM", "LDGSTS"), "90a": ("HMMA", "LDSM", "LDGSTS")},
    "wgmma": {"90a": ("HGMMA", "UTMALDG", r"UTMALDG\S*\.IM2COL")},
    "wgmma_registers": {"90a": ("HGMMA", "LDSM", "LDGSTS")},
}


def pytest_arguments(header: str) -> list[str]:
    """pytest arguments for a file of csrc/cuda: those of the source of its name, or of the one that lists it."""
    for name, source in SOURCES.items():
        if header in (name, f"{name}h", *source.headers):
            file, *rest = source.tests.split(" -k ")
            return [file, *(["-k", rest[0].replace("|", " or ")] if rest else [])]
    raise KeyError(f"{header} is in no line of tests/gates/sources.py")
