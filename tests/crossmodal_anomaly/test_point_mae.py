"""Point-MAE's encoder against itself written out, and the laws of section "point transformer"."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tenfold.core.errors import BadData, UsageError
from tenfold.crossmodal_anomaly import point_mae
from tenfold.crossmodal_anomaly.point_mae import BLOCKS_READ, OFFICIAL, PointMAESize, PointMAETokens, PointTransformer

TINY = PointMAESize(width=24, blocks=4, heads=3, drop_path=0.5)
N, G, K = 200, 12, 16
Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]


def network(size: PointMAESize, seed: int = 0) -> PointTransformer:
    """Random weights, batch norms with statistics that are not the neutral ones."""
    torch.manual_seed(seed)
    net = PointTransformer(size)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "running_var" in name or name.endswith(("norm1.weight", "norm2.weight", "conv.1.weight")):
                tensor.uniform_(0.5, 1.5)
            elif "running_mean" in name or name.endswith("bias"):
                tensor.normal_(0, 0.2)
    return net


def official(net: PointTransformer) -> dict[str, object]:
    """The checkpoint as the Point-MAE release wraps it."""
    state = {f"module.MAE_encoder.{key}": value for key, value in net.state_dict().items()}
    extra = {
        "module.mask_token": torch.zeros(1, 1, 4),
        "module.MAE_decoder.blocks.0.norm1.weight": torch.zeros(4),
        "module.decoder_pos_embed.0.weight": torch.zeros(4),
        "module.increase_dim.0.weight": torch.zeros(4),
    }
    return {"base_model": state | extra, "optimizer": {"param_groups": [{"lr": 1e-3}]}, "epoch": 300, "metrics": {"acc": 0.0}}


def plain_tokens(net: PointTransformer, groups: Tensor, training: bool) -> Tensor:
    """The mini-PointNet without any saving: every layer on every point, global and local features concatenated."""

    def batch_norm(x: Tensor, bn: torch.nn.BatchNorm1d) -> Tensor:
        mean, var = (None, None) if training else (bn.running_mean, bn.running_var)
        return F.batch_norm(x, mean, var, bn.weight, bn.bias, training)

    first, second = net.encoder.first_conv, net.encoder.second_conv
    x = first[3](F.relu(batch_norm(first[0](groups.transpose(1, 2)), first[1])))
    x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], 1)
    return second[3](F.relu(batch_norm(second[0](x), second[1]))).amax(2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "pretrain.pth"
    torch.save(official(network(TINY)), path)
    return path


@pytest.fixture
def cloud() -> Cloud:
    """Points (N, 3), centres (G,), neighbours (G, K) by brute force."""
    rng = np.random.default_rng(1)
    points = (rng.normal(size=(N, 3)) * 0.05).astype(np.float32)
    centres = rng.choice(N, G, replace=False)
    distance = ((points[centres, None] - points[None]) ** 2).sum(2)
    return points, centres, np.argsort(distance, 1)[:, :K]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("groups_at_once", [5, 1000])
def test_the_mini_pointnets_savings_change_nothing(monkeypatch: pytest.MonkeyPatch, training: bool, groups_at_once: int) -> None:
    monkeypatch.setattr(point_mae, "GROUPS_AT_ONCE", groups_at_once)
    net = network(TINY).double().train(training)
    groups = torch.randn(G, K, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net.encoder(groups), plain_tokens(net, groups, training), atol=1e-10, rtol=0)
        single = network(TINY).train(training)
        torch.testing.assert_close(single.encoder(groups.float()), plain_tokens(single, groups.float(), training), atol=1e-4, rtol=0)


def test_depths_read_their_blocks(tiny: Path, cloud: Cloud) -> None:
    tokens = PointMAETokens(tiny, 4, (1,), size=TINY, device="cpu")
    found = tokens(*cloud)
    assert tokens.channels == {1: TINY.width, 4: 3 * TINY.width}
    assert {d: (t.shape, t.dtype) for d, t in found.items()} == {d: ((G, c), np.float32) for d, c in tokens.channels.items()}

    points, centres, neighbours = (torch.tensor(x) for x in cloud)
    net = network(TINY).eval()
    with torch.no_grad():
        x, outputs = plain_tokens(net, points[neighbours] - points[centres][:, None], training=False)[None], []
        for block in net.blocks.blocks:
            x = x + net.pos_embed(points[centres])
            q, k, v = block.attn.qkv(block.norm1(x)).unflatten(2, (3, TINY.heads, -1)).permute(2, 0, 3, 1, 4)
            attention = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
            x = x + block.attn.proj(attention.transpose(1, 2).flatten(2))
            x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
            outputs.append(net.norm(x)[0])
    np.testing.assert_allclose(found[4], torch.cat([outputs[i - 1] for i in BLOCKS_READ[4]], 1).numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], outputs[0].numpy(), atol=1e-4)


def test_a_pruned_depth_is_a_run_of_its_own(tiny: Path, cloud: Cloud) -> None:
    alone = PointMAETokens(tiny, 1, (), size=TINY, device="cpu")
    assert len(alone.network.blocks.blocks) == 1
    assert np.array_equal(alone(*cloud)[1], PointMAETokens(tiny, 4, (1,), size=TINY, device="cpu")(*cloud)[1])


@pytest.mark.parametrize("mode", ["eval", "official_train"])
def test_order_of_points_and_of_neighbours_is_irrelevant(tiny: Path, cloud: Cloud, mode: point_mae.Mode) -> None:
    points, centres, neighbours = cloud
    rng = np.random.default_rng(2)
    order = rng.permutation(N)
    place = np.argsort(order)
    tokens = PointMAETokens(tiny, 4, (), mode, size=TINY, device="cpu")
    shuffled = tokens(points[order], place[centres], rng.permuted(place[neighbours], axis=1))
    np.testing.assert_allclose(shuffled[4], tokens(*cloud)[4], atol=1e-4)


def test_eval_is_deterministic_and_leaves_the_network_alone(tiny: Path, cloud: Cloud) -> None:
    tokens = PointMAETokens(tiny, 4, (1,), size=TINY, device="cpu")
    first = tokens(*cloud)
    tokens(cloud[0] * 2, *cloud[1:])
    assert all(np.array_equal(first[d], again) for d, again in tokens(*cloud).items())


def test_translation_changes_the_position_term_alone(tiny: Path, cloud: Cloud) -> None:
    points, centres, neighbours = cloud
    moved = points + np.array([0.25, -0.5, 1.0], np.float32)
    tokens = PointMAETokens(tiny, 4, (), size=TINY, device="cpu")
    assert np.abs(tokens(moved, centres, neighbours)[4] - tokens(*cloud)[4]).max() > 1e-2
    with torch.no_grad():
        for parameter in tokens.network.pos_embed.parameters():
            parameter.zero_()
    np.testing.assert_allclose(tokens(moved, centres, neighbours)[4], tokens(*cloud)[4], atol=1e-4)


def test_official_train_draws_by_seed_and_cloud(tiny: Path, cloud: Cloud) -> None:
    def run(seed: int, warm: bool = False) -> np.ndarray:
        tokens = PointMAETokens(tiny, 4, (), "official_train", seed, TINY, "cpu")
        if warm:
            tokens(cloud[0][::-1], *cloud[1:])
        return tokens(*cloud)[4]

    assert np.array_equal(run(0), run(0, warm=True))
    assert len({run(seed).tobytes() for seed in range(6)}) > 1
    assert not np.allclose(run(0), PointMAETokens(tiny, 4, (), size=TINY, device="cpu")(*cloud)[4], atol=1e-2)


def test_without_drop_path_official_train_is_batch_statistics_alone(tmp_path: Path, cloud: Cloud) -> None:
    size = PointMAESize(width=24, blocks=4, heads=3, drop_path=0.0)
    torch.save(official(network(size)), tmp_path / "w.pth")
    found = PointMAETokens(tmp_path / "w.pth", 1, (), "official_train", 0, size, "cpu")(*cloud)[1]
    points, centres, neighbours = (torch.tensor(x) for x in cloud)
    net = network(size)
    with torch.no_grad():
        tokens = plain_tokens(net, points[neighbours] - points[centres][:, None], training=True)
        x = net.blocks.blocks[0]((tokens + net.pos_embed(points[centres]))[None], None)
        np.testing.assert_allclose(found, net.norm(x)[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module.", "MAE_encoder.", "module.MAE_encoder.", "base_model."])
def test_the_prefixes_load(tmp_path: Path, prefix: str) -> None:
    net = network(TINY)
    torch.save({prefix + key: value for key, value in net.state_dict().items()}, tmp_path / "w.pth")
    loaded = point_mae.load(tmp_path / "w.pth", TINY).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())


def test_missing_and_unexpected_keys_are_listed(tmp_path: Path) -> None:
    state = network(TINY).state_dict()
    del state["norm.bias"]
    torch.save(state | {"cls_head.0.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(BadData, match=r"missing norm\.bias; unexpected cls_head\.0\.weight"):
        point_mae.load(tmp_path / "w.pth", TINY)
    with pytest.raises(UsageError, match=r"\[1, 4\], not 8"):
        PointMAETokens(tmp_path / "w.pth", 8, (), size=TINY)


@pytest.mark.slow
def test_the_papers_size(tmp_path: Path) -> None:
    torch.save(official(network(OFFICIAL)), tmp_path / "w.pth")
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 3)).astype(np.float32) * 0.05
    tokens = PointMAETokens(tmp_path / "w.pth", device="cpu")
    found = tokens(points, rng.choice(3000, 1024, replace=False), rng.integers(0, 3000, (1024, 128)))
    assert {d: t.shape for d, t in found.items()} == {1: (1024, 384), 4: (1024, 1152), 8: (1024, 1152), 12: (1024, 1152)}
    assert sum(p.numel() for p in tokens.network.parameters()) == 21_825_024
