"""Argument checks of the public functions: each error names function, argument, what was expected and what came.

`where` is the function's name as it begins the message; empty where the argument's name says enough. A check returns
the value in the form that the code behind it uses, so that nothing unchecked goes on.
"""

from hgfast._checks.arrays import array, picture
from hgfast._checks.objects import function, instance, path
from hgfast._checks.tensors import (
    FLOATING,
    PLAIN,
    UNINITIALISED,
    activations,
    device,
    same_device,
    same_kind,
    shape,
    tensor,
    written,
)
from hgfast._checks.text import describe
from hgfast._checks.values import INT64_MAX, choice, flag, integer, integers, number, size

__all__ = [
    "FLOATING",
    "INT64_MAX",
    "PLAIN",
    "UNINITIALISED",
    "activations",
    "array",
    "choice",
    "describe",
    "device",
    "flag",
    "function",
    "instance",
    "integer",
    "integers",
    "number",
    "path",
    "picture",
    "same_device",
    "same_kind",
    "shape",
    "size",
    "tensor",
    "written",
]
