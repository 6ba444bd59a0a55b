"""Runs the CUDA kernels' sources on the CPU, thread by thread, with checks that a GPU does not make.

`device.emulated_cuda()` routes the ops of CPU tensors to kernels compiled from csrc/cuda by the host compiler.
docs/kernels.md tells how it works and what it cannot see.
"""
