"""Writes hgfast/_library.pyi, the signatures of the compiled modules, from their bindings in csrc.

    python -m tests.native_stub

A binding is `m.def("name", [](parameters) {...})`, or a class with its constructor and methods; what a binding returns,
which C++ leaves to the compiler, stands in RESULTS. tests/test_native_stub.py holds the file against the bindings, and
the number of parameters against the modules themselves.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
STUB = ROOT / "hgfast" / "_library.pyi"
HEAD = '''"""What the compiled modules have, for type checkers: written by `python -m tests.native_stub` from csrc.

Kernels of one backend alone are in its module only. An `Address` is a tensor's, 0 where there is none; `Exec` is a CUDA
stream, or a number of threads.
"""

# fmt: off
from typing import Any, TypeAlias

from hgfast._native import Address

Exec: TypeAlias = int
Addresses: TypeAlias = list[int]
Place: TypeAlias = tuple[int, int] | None  # a sequence's operand: number of the tensor, bytes from its beginning
CodesTuple: TypeAlias = tuple[float, int]  # scale and zero
'''
TYPES = {
    "int": "int", "int64_t": "int", "size_t": "int", "bool": "bool", "double": "float", "float": "float",
    "std::string": "str", "py::tuple": "tuple[int, ...]", "py::list": "list[int]",
}  # fmt: skip
RESULTS = {
    "backend_info": "dict[str, Any]",
    "batch_norm_sizes": "tuple[int, int, int]",
    "bottleneck_candidates": "tuple[list[tuple[Any, ...]], float]",
    "bottleneck_query": "tuple[int, bool, int, int, int, int, str]",
    "capture_id": "int",
    "conv_candidates": "list[tuple[Any, ...]]",
    "conv_int8_query": "tuple[int, int, str, bool]",
    "conv_query": "tuple[int, int, int, int, str]",
    "current_device": "_Device",
    "wait_fault": "str",
}
CLASS = re.compile(r"py::class_<(\w+)>\(m, \"(\w+)\", py::module_local\(\)\)(.*?);\n(?=  m\.|\})", re.S)


def functions(text: str) -> dict[str, str]:
    """The C++ parameters of each function that a source binds."""
    return dict(re.findall(r"m\.def\(\s*\"(\w+)\",\s*(?:\[\]\s*(?:\((.*?)\))?\s*\{|&)", text, re.S))


def classes(text: str) -> dict[str, dict[str, str]]:
    """The C++ parameters of each method of the classes that a source binds; of fields, their type."""
    found = {}
    for kind, name, body in CLASS.findall(text):
        methods = {"__init__": _constructor(text, kind, body)}
        for method, function in re.findall(r"\.def\(\"(\w+)\", &([\w:]+)", body):
            methods[method] = _parameters_of(text, function.split("::")[-1])
        methods |= {field: "int" for field in re.findall(r"\.def_readonly\(\"(\w+)\"", body)}
        found[name] = methods
    return found


def _constructor(text: str, kind: str, body: str) -> str:
    by_function = re.search(r"py::init\(&(\w+)\)", body)
    if by_function:
        return _parameters_of(text, by_function.group(1))
    by_lambda = re.search(r"py::init\(\[\]\((.*?)\)", body, re.S)
    if by_lambda:
        return by_lambda.group(1)
    return _parameters_of(text, kind)


def _parameters_of(text: str, function: str) -> str:
    """Those of the function's definition, without the object that a method is called on."""
    found = re.search(rf"\b{function}\(([^()]*)\)\s*(?:const )?[:{{]", text, re.S)
    assert found, function
    return re.sub(r"^Sequence& sequence, ", "", found.group(1))


def parameters(text: str) -> list[str]:
    """`name: type` of each parameter."""
    found = []
    for parameter in re.sub(r"\s+", " ", text).split(", ") if text.strip() else []:
        kind, name = parameter.removeprefix("const ").rsplit(" ", 1)
        kind = kind.rstrip("&")
        found.append(f"{name}: {TYPES.get(kind, kind)}")
    return found


def _unhidden(found: re.Match[str]) -> str:
    return found[1] if re.search(rf"^{found[1]}: TypeAlias|import {found[1]}$", HEAD, re.M) else f"_{found[1]}"


def stub() -> str:
    """The file's text."""
    texts = [path.read_text() for folder in ("bindings", "cpu/runtime", "cuda") for path in bindings(folder)]
    lines = [HEAD]
    kinds = {name: methods for text in texts for name, methods in classes(text).items()}
    for name, methods in sorted(kinds.items()):
        lines.append(f"class {name}:")
        lines += [f"    {field}: int" for field, kind in methods.items() if kind == "int"]
        lines += [_method(method, given) for method, given in methods.items() if given != "int"]
        lines.append("")
    lines += [f"_{name} = {name}" for name in sorted(kinds)]  # by names that Library's own do not hide
    lines += ["", "class Library:", "    __file__: str"]
    lines += [f"    {name}: type[{name}]" for name in sorted(kinds)]
    bound = {name: given for text in texts for name, given in functions(text).items()}
    lines += [_method(name, bound[name], static=True) for name in sorted(bound)]
    return "\n".join(lines) + "\n"


def bindings(folder: str) -> list[Path]:
    """The sources of a folder of csrc that bind something."""
    return [path for path in sorted((ROOT / "csrc" / folder).glob("*.cpp")) if "py::module_" in path.read_text()]


def _method(name: str, text: str, static: bool = False) -> str:
    given = [re.sub(r"\b([A-Z]\w+)$", _unhidden, each) for each in parameters(text)] if static else parameters(text)
    result = RESULTS.get(name, "None") if static else "None"
    head = "    @staticmethod\n" if static else ""
    line = f"    def {name}({', '.join(given if static else ['self', *given])}) -> {result}: ..."
    whole = re.sub(r"(?<![,f]) (?! )", "\0", line[4:])  # breaks are behind commas alone
    wrapped = textwrap.fill(whole, 116, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False)
    return head + textwrap.indent(wrapped.replace("\0", " "), " " * 4)


if __name__ == "__main__":
    STUB.write_text(stub())
