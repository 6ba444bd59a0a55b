"""hgfast: fused kernels and drop-in modules for stacked-hourglass pose networks."""

__version__ = "0.1.0"
