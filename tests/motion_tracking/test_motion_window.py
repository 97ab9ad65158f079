"""Attention over a window of frames: equal to PyTorch's own layers, as far back as it says, as large as an LSTM, at a cost that grows with time."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking import small_live
from motion_tracking.small_features import MODEL, NETWORK, PLAIN
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tenfold.core.errors import BadData
from tenfold.motion_tracking import official, onnx_export, onnx_step, predict, torch_window, train, variants
from tenfold.motion_tracking.network import Network, parameters
from tenfold.motion_tracking.stream import NAMES, Reading
from tenfold.motion_tracking.torch_window import BatchedWindow

WINDOW = 12
WINDOWED = replace(PLAIN, temporal="transformer_window", temporal_window=WINDOW)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def layer(tokens: int, hidden: int, heads: int, window: int, seed: int = 0) -> BatchedWindow:
    """One all of whose parts speak."""
    torch.manual_seed(seed)
    made = BatchedWindow(tokens, hidden, heads, window, 0.0).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made.requires_grad_(False)


def fresh(made: BatchedWindow, batch: int) -> list[torch.Tensor]:
    """A state before the first frame."""
    tokens, _, window = made.lag.shape
    return [torch.zeros(tokens, batch, *sides) for sides in torch_window.carried(made.norm1.normalized_shape[0], window)]


def reference(ours: BatchedWindow, token: int, x: torch.Tensor) -> torch.Tensor:
    """PyTorch's own layer on a whole sequence x (T, B, hidden), with every pair of frames that may see each other written down."""
    heads, window = ours.lag.shape[1:]
    hidden, frames = x.shape[-1], len(x)
    theirs = nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, 0.0).eval()
    names = {
        "self_attn.in_proj": "qkv", "self_attn.out_proj": "mix", "linear1": "up", "linear2": "down",
    }  # fmt: skip
    state = {f"norm{k}.{part}": getattr(getattr(ours, f"norm{k}"), part) for k in (1, 2) for part in ("weight", "bias")}
    for theirs_name, our_name in names.items():
        joint = "_" if theirs_name.endswith("in_proj") else "."
        state[f"{theirs_name}{joint}weight"] = ours.get_parameter(our_name)[token]
        state[f"{theirs_name}{joint}bias"] = ours.get_parameter(f"bias_{our_name}")[token]
    theirs.load_state_dict(state)
    mask = torch.full((heads, frames, frames), -math.inf)
    for head in range(heads):
        for now in range(frames):
            for then in range(max(0, now - window + 1), now + 1):
                mask[head, now, then] = ours.lag[token, head, now - then]
    with torch.no_grad():
        return theirs(x, src_mask=mask.repeat(x.shape[1], 1, 1))


@settings(deadline=None, max_examples=12)
@given(
    st.integers(1, 150), st.integers(2, 50), st.sampled_from([1, 2, 4]), st.lists(st.integers(1, 90), min_size=1, max_size=4),
    st.integers(0, 999),
)  # fmt: skip
def test_it_is_pytorchs_layer_within_the_window_however_it_is_cut(frames: int, window: int, heads: int, cuts: list[int], seed: int) -> None:
    ours, x = layer(2, 8, heads, window, seed), torch.randn(2, frames, 3, 8)
    wanted = torch.stack([reference(ours, token, x[token]) for token in range(2)])
    assert torch.allclose(ours(x, *fresh(ours, 3))[0], wanted, atol=1e-5)
    state, found, at = fresh(ours, 3), [], 0
    while at < frames:
        size = cuts[len(found) % len(cuts)]
        out, *state = ours(x[:, at : at + size], *state)
        found.append(out)
        at += size
    assert torch.allclose(torch.cat(found, 1), wanted, atol=1e-5)
    seen = min(frames, window - 1)
    assert [tuple(part.shape) for part in state] == [tuple(part.shape) for part in fresh(ours, 3)]
    assert not state[0][:, :, : window - 1 - seen].any() and torch.equal(state[1].sum(-1), torch.full((2, 3), float(seen)))


def test_its_gradient_is_that_of_pytorchs_layer_and_reaches_every_lag() -> None:
    torch.manual_seed(0)
    ours = BatchedWindow(1, 8, 2, 5, 0.0)
    x = torch.randn(1, 70, 2, 8, dtype=torch.float64, requires_grad=True)
    ours.double()
    state = [part.double() for part in fresh(ours, 2)]
    assert torch.autograd.gradcheck(lambda u: ours(u, *state)[0][:, -3:], x[:, -12:].detach().requires_grad_())
    (ours(x, *state)[0] ** 3).sum().backward()
    assert bool((ours.lag.grad.abs() > 0).all()) and bool(x.grad.abs().sum((0, 2, 3)).all())


def test_what_is_out_of_reach_is_not_seen() -> None:
    torch.manual_seed(0)
    network = Network(WINDOWED).eval().requires_grad_(False)
    x = torch.randn(1, 60, 135)
    other = x.clone()
    other[:, 7] = torch.randn(135)
    reach = 7 + WINDOWED.blocks * (WINDOW - 1)
    one, two = network(x)[0][0], network(other)[0][0]
    assert torch.equal(one[:7], two[:7]) and torch.equal(one[reach + 1 :], two[reach + 1 :])
    assert bool((one[7 : reach + 1] != two[7 : reach + 1]).any(-1).all())
    # and where the stream began does not matter: only how long ago a frame was
    later = network(torch.cat([torch.randn(1, 41, 135), x], 1))[0][0, 41:]
    assert torch.allclose(later[reach:], one[reach:], atol=1e-5)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, torch.Tensor) and each.untyped_storage().nbytes() > self.numbers:
                self.numbers = each.untyped_storage().nbytes()
        return made


def test_a_long_clip_needs_memory_in_proportion() -> None:
    ours, largest = layer(1, 8, 2, 40), {}
    for frames in (2000, 4000):
        with Largest() as noted:
            ours(torch.zeros(1, frames, 1, 8), *fresh(ours, 1))
        largest[frames] = noted.numbers
    # the widest row is that of queries, keys and values; scores of all pairs would be 500 times as large
    assert largest[4000] <= 2.1 * largest[2000] and largest[2000] <= 4 * 2000 * 3 * 8 * 1.1


def test_it_is_as_large_as_what_it_stands_in_for() -> None:
    for size in (
        MODEL,
        replace(MODEL, **{name: getattr(official.PAPER, name) for name in ("hidden", "layers", "heads", "ff", "head_hidden")}),
    ):
        full = parameters(size)
        for name in ("one_transformer", "transformer_window"):
            block = variants.parse(name, size).block
            assert abs(parameters(train.options_of(block)) / full - 1) < 0.05, name
            assert block.temporal == "transformer_window" and block.hidden % block.heads == 0
    assert variants.parse("one_transformer", MODEL).block.tokens == "one"


def test_the_graph_says_what_it_carries(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(WINDOWED).eval().requires_grad_(False)
    onnx_export.export(network, tmp_path / "step.onnx", "")
    step = onnx_step.OnnxStep(tmp_path / "step.onnx")
    assert {name: array.shape for name, array in step.start(3).items()} == {
        "h": (2, 8, 3, WINDOW - 1, 48),
        "c": (2, 8, 3, WINDOW - 1),
    }
    assert step.facts["network"]["temporal"] == "transformer_window" and step.facts["network"]["temporal_window"] == WINDOW
    assert [part.shape for part in network.start(3)[:2]] == [array.shape for array in step.start(3).values()]


def test_a_network_that_was_stored_before_there_was_a_window_is_read(tmp_path: Path) -> None:
    train.write_network(tmp_path, Network(NETWORK))
    options = json.loads((tmp_path / "network.json").read_text())
    del options["temporal_window"]
    (tmp_path / "network.json").write_text(json.dumps(options))
    assert train.read_network(tmp_path).options == replace(NETWORK, temporal_window=0)


# -- as it is served ------------------------------------------------------------------------------------------------

READINGS = small_live.swaying(40)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> predict.Predictor:
    folder = small_live.write(tmp_path_factory.mktemp("window") / "predictor", temporal="transformer_window", temporal_window=WINDOW)
    return predict.Predictor.load(folder)


def table(readings: list[Reading]) -> pd.DataFrame:
    frame = pd.DataFrame([reading.values.ravel() for reading in readings], columns=list(NAMES))
    frame.insert(0, "t", [reading.t for reading in readings])
    return frame


def poses(answers: list[pd.DataFrame]) -> np.ndarray:
    return pd.concat(answers)[[name for name in answers[0] if "_q" in name or name.startswith("b")]].to_numpy(np.float64)


def test_requests_in_pieces_give_what_one_request_gives(predictor: predict.Predictor) -> None:
    """With a state that the caller keeps, and with sessions that take turns."""
    whole = poses([predictor.predict(table(READINGS))])
    state, kept, taken = "new", [], {"a": [], "b": []}
    for at in range(0, len(READINGS), 8):
        part = table(READINGS[at : at + 8])
        kept.append(predictor.predict(part, {"state": state}))
        state = kept[-1]["state"].iloc[-1]
        for session, frame in (("a", part), ("b", part.iloc[:, :22])):
            taken[session].append(predictor.predict(frame, {"session": session}))
    assert np.array_equal(poses(kept), whole) and np.array_equal(poses(taken["a"]), whole)
    assert np.array_equal(poses(taken["b"]), poses([predictor.predict(table(READINGS).iloc[:, :22])]))


def test_a_state_of_another_window_is_refused(predictor: predict.Predictor, tmp_path: Path) -> None:
    other = predict.Predictor.load(small_live.write(tmp_path / "predictor", temporal="transformer_window", temporal_window=WINDOW + 1))
    state = other.predict(table(READINGS[:2]), {"state": "new"})["state"].iloc[-1]
    with pytest.raises(BadData, match="not one of this model"):
        predictor.predict(table(READINGS), {"state": state})
