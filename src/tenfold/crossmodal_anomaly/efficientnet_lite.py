"""EfficientNet-Lite0 (TensorFlow's mobile EfficientNet without squeeze-and-excitation) as a frozen 2D token extractor.

The attributes of the modules carry the weight file's own names, so that its state dict loads strictly.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tenfold.core.errors import UsageError
from tenfold.crossmodal_anomaly import weights

# repeats, kernel, stride of the first, expansion, input channels, output channels
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
BN_EPS = 1e-3
CENTRE, SCALE = 127.0, 128.0
# stride -> (last block at that stride, its channels)
TAPS = {4: (2, 24), 8: (4, 40), 16: (10, 112)}


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) in px: the output has ceil(size / stride) values, the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, asymmetric where the stride is 2."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(x.shape[-2], kernel, stride)
        left, right = same_padding(x.shape[-1], kernel, stride)
        if top == bottom == left == right:
            return F.conv2d(x, self.weight, self.bias, self.stride, top, groups=self.groups)
        return F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, self.bias, self.stride, groups=self.groups)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise kxk, project 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        if expand != 1:
            self._expand_conv = SameConv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, BN_EPS)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, BN_EPS)
        self._project_conv = SameConv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, BN_EPS)
        self.expands = expand != 1
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The whole classifier: (batch, 3, H, W) of `(rgb - 127) / 128` to (batch, 1000) ImageNet logits."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, BN_EPS)
        self._blocks = nn.ModuleList(
            Block(outputs if i else inputs, outputs, kernel, 1 if i else stride, expand)
            for repeats, kernel, stride, expand, inputs, outputs in STAGES
            for i in range(repeats)
        )
        self._conv_head = SameConv2d(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, BN_EPS)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))

    def stem(self, x: Tensor) -> Tensor:
        """(batch, 3, H, W) to (batch, 32, H/2, W/2)."""
        return F.relu6(self._bn0(self._conv_stem(x)))

    def fold(self) -> None:
        """Fold every batch norm into the convolution before it: the same function in inference, with fewer passes over memory."""
        pairs = {"_conv_stem": "_bn0", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2", "_conv_head": "_bn1"}
        for module in (self, *self._blocks):
            for conv, bn in pairs.items():
                if hasattr(module, conv):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv).eval(), getattr(module, bn).eval()))
                    setattr(module, bn, nn.Identity())


def load(path: Path) -> EfficientNetLite0:
    """The classifier with the weights of `path`, in eval mode; raises BadData when a key or shape does not fit."""
    network = EfficientNetLite0()
    weights.load_strict(network, weights.read(path), path)
    return network.eval()


class EfficientNetLite0Tokens:
    """Tokens of an image: the last maps at strides 4, 8 and 16 up to `depth`, brought to the stride-8 grid and concatenated.

    The finer map is averaged over its pixels (area), the coarser one interpolated bilinearly (align_corners=False). At 224 px
    depth 16 gives (28, 28, 176), depth 8 (28, 28, 64), depth 4 (28, 28, 24). The trunk ends after the last map in use.

    depth: 4, 8 or 16; pruned: further depths, taken from the same pass where they are below `depth`.
    path: a weight file in the packaged file's layout; without it the packaged ImageNet weights, sha256 checked.
    device: a torch device; without it the GPU where there is one.
    """

    name = "efficientnet_lite0"

    def __init__(self, depth: int = 16, pruned: Sequence[int] = (8,), path: Path | None = None, device: str | None = None) -> None:
        for d in (depth, *pruned):
            if d not in TAPS:
                raise UsageError(
                    f"{self.name} has the depths {sorted(TAPS)} (strides of its maps), not {d}: see features.depth_2d and features.pruned"
                )
        source = path or weights.packaged()
        self.sha256 = weights.sha256(source)
        self.depths = sorted({depth, *(d for d in pruned if d < depth)})
        self.channels = {d: sum(channels for stride, (_, channels) in TAPS.items() if stride <= d) for d in self.depths}
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network = load(source)
        network.fold()
        del network._blocks[TAPS[depth][0] + 1 :], network._conv_head, network._fc
        self.network = network.requires_grad_(False).to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """(S, S, 3) uint8 RGB to {depth: (ceil(S/8), ceil(S/8), channels[depth]) float32}."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"an RGB image is (S, S, 3) uint8, got {rgb.shape} {rgb.dtype}")
        image = torch.tensor(rgb, device=self.device).float().sub_(CENTRE).div_(SCALE)
        x = self.network.stem(image.permute(2, 0, 1)[None])
        maps: dict[int, Tensor] = {}
        strides = {block: stride for stride, (block, _) in TAPS.items()}
        for i, block in enumerate(self.network._blocks):
            x = block(x)
            if i in strides:
                maps[strides[i]] = x
        grid = (-(-rgb.shape[0] // 8), -(-rgb.shape[1] // 8))
        on_grid = {
            stride: F.adaptive_avg_pool2d(x, grid) if stride < 8 else F.interpolate(x, grid, mode="bilinear", align_corners=False)
            for stride, x in maps.items()
        }
        tokens = torch.cat(list(on_grid.values()), 1)[0].permute(1, 2, 0).cpu().numpy()
        return {d: np.array(tokens[..., : self.channels[d]], order="C") for d in self.depths}
