"""Causal one-pole low-pass filters over time: y(t) = y(t-1) + alpha (u(t) - y(t-1)), in closed form for whole sequences."""

import torch
from torch import Tensor

CHUNK = 64  # frames that are filtered as one product


def smooth(u: Tensor, alpha: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Filter u (B, T, C) with alpha (C,) or (1,), in (0, 1], from y = `before` (B, C); returns y (B, T, C) and its last frame (B, C)."""
    if u.shape[1] == 1:
        y = before + alpha * (u[:, 0] - before)
        return y[:, None], y
    alpha = alpha.expand(u.shape[-1])
    parts = []
    for part in u.split(CHUNK, dim=1):
        frames = part.shape[1]
        kernel, decay = _kernel(alpha, frames)
        y = torch.bmm(kernel, part.permute(2, 1, 0)) + decay[..., None] * before.T[:, None]
        parts.append(y.permute(2, 1, 0))
        before = parts[-1][:, -1]
    return torch.cat(parts, 1), before


def smooth_scales(u: Tensor, alphas: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Filter u (B, T, C) with each of alphas (S,) from `before` (B, S, C); returns (B, T, S C) and the last values (B, S, C)."""
    if u.shape[1] == 1:
        y = before + alphas[:, None] * (u - before)
        return y.flatten(1)[:, None], y
    parts = []
    for part in u.split(CHUNK, dim=1):
        kernel, decay = _kernel(alphas, part.shape[1])
        y = torch.matmul(kernel, part[:, None]) + decay[..., None] * before[:, :, None]  # (B, S, T, C)
        before = y[:, :, -1]
        parts.append(y.transpose(1, 2).flatten(2))
    return torch.cat(parts, 1), before


def _kernel(alpha: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """(C, T, T) weights of the inputs and (C, T) of what was before."""
    keep = 1 - alpha
    powers = torch.cat([torch.ones_like(keep)[None], keep.expand(frames, -1)]).cumprod(0)  # (T+1, C)
    ago = torch.arange(frames, device=alpha.device)
    ago = ago[:, None] - ago[None]
    kernel = powers[ago.clamp(min=0)].permute(2, 0, 1) * (ago >= 0) * alpha[:, None, None]
    return kernel, powers[1:].T
