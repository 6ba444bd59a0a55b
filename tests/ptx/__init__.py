"""Executes the PTX that nvcc makes of the CUDA kernels, on the CPU, launched by the kernels' own host code.

It sees what tests/emulator replaces: the text of the inline assembly, its operands and constraints, and what nvcc makes
of the kernels around it. `python -m tests.ptx` runs the op tests on it, unchanged.
"""
