"""Rotations in PyTorch: 6D (the first two columns, one after the other) to matrices and back, differentiable (specification section 2.1)."""

import torch
from torch import Tensor

EPS = 1e-8  # of a length that is divided by


def matrix_from_six(six: Tensor, how: str = "gram_schmidt") -> Tensor:
    """(..., 6) to (..., 3, 3).

    "gram_schmidt" gives a rotation whatever the lengths; "cross" takes both columns as they are and their cross product as the third,
    which is a rotation for orthonormal columns only: the official code's way, for parity with its released weights.
    """
    a, b = six[..., :3], six[..., 3:]
    if how == "gram_schmidt":
        a = _unit(a)
        b = _unit(b - (a * b).sum(-1, keepdim=True) * a)
    elif how != "cross":
        raise ValueError(f"how is {how!r}; use gram_schmidt or cross")
    return torch.stack([a, b, cross(a, b)], dim=-1)


def six_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 6)."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product over the last dimension, out of operators that every exporter knows."""
    ax, ay, az = a.unbind(-1)
    bx, by, bz = b.unbind(-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-1)


def _unit(v: Tensor) -> Tensor:
    # the root of a sum that is never 0 has a gradient everywhere
    return v * torch.rsqrt((v * v).sum(-1, keepdim=True) + EPS**2)
