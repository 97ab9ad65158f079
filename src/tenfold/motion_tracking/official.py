"""The official code's checkpoint in our network (specification section 3.1): its key layout, which parts have which name.

Every key is used and every parameter set, or it is an error. Weight norm stays as g and v; `fold` makes plain matrices of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tenfold.core.errors import BadData
from tenfold.motion_tracking import columns, config
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.torch_lstm import BatchedLSTM

NAMES = {"lshin": "lfoot", "rshin": "rfoot", "lhand_in_head": "lhand_inhead", "rhand_in_head": "rhand_inhead"}
"""The official name of a token where it differs."""

PAPER = config.Network(
    hidden=256, blocks=2, layers=3, heads=8, ff=2048, dropout=0.1, head_dropout=0.0, head_hidden=256, temporal="lstm", temporal_window=40,
    spatial="transformer", tokens="components", hand_in_head=True, shape="estimate", rot6d="cross", weight_norm=True, canonical="none", yaw_alpha=1.0,
    standardise=False, skip="none", skip_alphas=[], poles=0, pole_alpha=0.5, shape_alpha=1.0,
)  # fmt: skip
"""The released network: its size, and its way from six numbers to a rotation."""


def load(path: Path, options: config.Network = PAPER) -> Network:
    """The network of a checkpoint `{state_dict, epoch}`. Raises BadData naming file and cause: not a checkpoint, keys that lack or do not fit."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        state = found["state_dict"] if "state_dict" in found else found
    except Exception as error:  # what torch raises for a foreign file has no common class
        raise BadData(f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}); download it again") from error
    return from_state(state, options, str(path))


def from_state(state: Mapping[str, Tensor], options: config.Network = PAPER, where: str = "the checkpoint") -> Network:
    """The network, in eval mode, of the official tensors. Raises BadData."""
    network = Network(options)
    left = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    with torch.no_grad():
        for name, place in _places(network):
            if name not in left:
                raise BadData(f"{where} has no tensor {name}; it is not of a network with these options")
            given = left.pop(name)
            if given.numel() != place.numel():
                raise BadData(f"{where}: {name} is {tuple(given.shape)}, wanted {tuple(place.shape)}; hidden size or layers differ")
            place.copy_(given.reshape(place.shape))
    if left:
        raise BadData(f"{where} has tensors that this network has no place for: {', '.join(sorted(left)[:4])}")
    return network.eval().requires_grad_(False)


def to_state(network: Network) -> dict[str, Tensor]:
    """The network's tensors under the official names."""
    return {name: place.detach().clone() for name, place in _places(network)}


def fold(network: Network) -> Network:
    """The same network with plain LSTM matrices in the place of weight norm's g and v."""
    plain = Network(replace(network.options, weight_norm=False))
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(("_g", "_v"))}
    for number, temporal in enumerate(network.temporal):
        if isinstance(temporal, BatchedLSTM):
            state |= {f"temporal.{number}.{name}": temporal.weight(name).detach() for name in ("ih", "hh")}
    plain.load_state_dict(state)
    return plain.eval().requires_grad_(False)


def _places(network: Network) -> Iterator[tuple[str, Tensor]]:
    """Each official name with the part of our parameters that it fills, in its shape."""
    tokens = [NAMES.get(name, name) for name in columns.TOKENS]
    embedding = network.embedding
    for token, groups in zip(tokens, embedding.slices, strict=True):
        for number, (at, outputs, inputs, row) in enumerate(groups):
            name = f"backbone.{token}_linear_embeddings.{number}.0"
            yield f"{name}.weight", embedding.weight.data[at : at + outputs * inputs].view(outputs, inputs)
            yield f"{name}.bias", embedding.bias.data[row : row + outputs]
    for name in ("weight", "bias"):
        yield f"backbone.norm.{name}", embedding.norm.get_parameter(name).data
    for block, temporal in enumerate(network.temporal):
        assert isinstance(temporal, BatchedLSTM)
        for number, token in enumerate(tokens):
            name = f"backbone.time_encoder.{block}.{token}"
            for kind in ("ih", "hh"):
                for part in ("g", "v") if temporal.weight_norm else ("",):
                    tail = f"_{part}" if part else ""
                    yield f"{name}.weight_{kind}_l0{tail}", temporal.get_parameter(f"{kind}{tail}").data[number]
                yield f"{name}.bias_{kind}_l0", temporal.get_parameter(f"bias_{kind}").data[number]
    for block, spatial in enumerate(network.spatial):
        for name, parameter in spatial.named_parameters():
            yield f"backbone.spatial_encoder.{block}.layers.{name}", parameter.data
    for ours, theirs in (("pose_head", "pose_est"), ("shape_head", "shape_est")):
        for name, parameter in network.get_submodule(ours).named_parameters():
            yield f"{theirs}.{name}", parameter.data
