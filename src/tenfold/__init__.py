"""Ten computer-vision papers (CVPR 2024) as living pipelines."""

__version__ = "0.1.0"
