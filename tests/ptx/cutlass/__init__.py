"""Holds the interpreter against kernels that are proven on hardware: CUTLASS's, compiled from its headers."""
