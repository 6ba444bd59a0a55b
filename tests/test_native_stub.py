"""The signatures of the compiled modules, which mypy sees, are those of the bindings and of the modules."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hgfast import _native
from tests.native_stub import STUB, bindings, classes, functions, parameters, stub

FOLDERS = {"cpu": ("bindings", "cpu/runtime"), "cuda": ("bindings", "cuda")}


def test_the_file_is_that_of_the_bindings() -> None:
    assert STUB.read_text() == stub(), "python -m tests.native_stub"


def test_parameters_of_a_binding() -> None:
    text = """m.def("one", [](const ConvShape& shape,
               Address x, double eps, bool relu, const std::string& name, Exec exec) {});
      m.def("two", [] { return 2; }); m.def("three", &three);"""
    found = functions(text)
    assert list(found) == ["one", "two", "three"] and parameters(found["two"]) == parameters(found["three"]) == []
    assert parameters(found["one"]) == [
        "shape: ConvShape", "x: Address", "eps: float", "relu: bool", "name: str", "exec: Exec",
    ]  # fmt: skip


@pytest.mark.parametrize("backend", FOLDERS)
def test_the_modules_have_what_the_bindings_say(backend: str) -> None:
    module: Any = {"cpu": _native._cpu, "cuda": _native._cuda}[backend]
    if module is None:
        pytest.skip("hgfast._cuda was not built")
    texts = [path.read_text() for folder in FOLDERS[backend] for path in bindings(folder)]
    bound = {name: given for text in texts for name, given in functions(text).items()}
    made = {name: methods for text in texts for name, methods in classes(text).items()}
    assert {name for name in vars(module) if not name.startswith("__")} == {*bound, *made}
    for name, given in bound.items():
        assert count(getattr(module, name)) == len(parameters(given)), name
    for name, methods in made.items():
        for method, given in methods.items():
            if given != "int":  # a field
                assert count(getattr(getattr(module, name), method)) == len(parameters(given)) + 1, (name, method)


def count(function: Any) -> int:
    """The parameters of a bound function, from the signature that pybind11 writes into its docstring."""
    signature = function.__doc__.splitlines()[0]
    return len(re.findall(r"\b(?:self|arg\d+): ", signature))
