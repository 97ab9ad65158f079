"""Prediction from a folder: the batch pipeline's numbers, from bytes, in another process; every bad input has its answer."""

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from tenfold.core import tables
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import config, demo, features, predict, predictor_folder, prepare, regions, scoring, train
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.operators import dense
from tenfold.crossmodal_anomaly.predict import Predictor
from tenfold.crossmodal_anomaly.resize import Square

MAKE = config.Make(train=3, validation=2, good=1, per_defect=1, side=128, seed=0, difficulty=1.0, independent_colour=False)
PREPARED = config.Prepared(
    size=64, pad_multiple=100, plane="optional", plane_threshold_m=0.004, plane_cut_m=0.005, plane_draws=100, plane_sample=50,
    plane_min_inliers=0.3, plane_border_px=10, cluster_eps_m=0.006, cluster_min_points=8, keep="largest", keep_fraction=0.05,
    split_warning=0.6, validity="finite", min_points=128, max_quarantine=0.05, seed=0,
)  # fmt: skip
FEATURES = config.Features(
    extractor_2d="efficientnet_lite0", extractor_3d="fpfh_covariance", extractor_mode="eval", size=64, grid=28, centres=64, neighbours=32,
    depth_2d=16, depth_3d=12, pruned=[], norm="standardise", offset=0.5, weights_2d={}, weights_3d={}, seed=0,
)  # fmt: skip
MODEL = config.Model(
    seeds=[0], epochs=3, lr=1e-3, batch=2, mapper="standard", pixels_per_part=0, shots=0, variants=[], variants_on=[], variant_seeds=[0],
    few_shot_steps=0, validate_every=1, image_quantile=0.6, pixel_quantile=0.99, checkpoint_every=100, combine="product",
    smoothing="boxes", score_norm="none", missing="zero",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A trained line of stages on a few demo parts, whose files lie in the official layout and are stored in millimetres."""

    raw: Path
    features: Path
    model: Path
    ids: list[str]

    def files(self, part: str) -> tuple[Path, Path]:
        unit, split, defect, stem = part.split("/")
        here = self.raw / unit / split / defect
        return here / "rgb" / f"{stem}.png", here / "xyz" / f"{stem}.tiff"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root = tmp_path_factory.mktemp("line")
    raw, dataset, prepared, featured, model, scratch = (root / n for n in ("raw", "dataset", "prepared", "features", "model", "scratch"))
    for folder in (dataset, prepared, featured, model, scratch):
        folder.mkdir()
    plan = [("train", "good", 3), ("validation", "good", 2), ("test", "good", 1), ("test", "hole", 1), ("test", "mismatch", 1)]
    rows = []
    for split, defect, count in plan:
        for index in range(count):
            made = demo.part("biscuit", split, defect, index, MAKE)
            row = {"id": f"biscuit/{split}/{defect}/{index:03d}", "unit": "biscuit", "split": split, "defect": defect}
            row |= {"label": int(defect != "good"), "gt_path": None, "gt_sha256": None}
            for name, suffix in (("rgb", "png"), ("xyz", "tiff")):
                path = raw / "biscuit" / split / defect / name / f"{index:03d}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if name == "rgb":
                    Image.fromarray(made.rgb).save(path)
                else:
                    tifffile.imwrite(path, made.xyz * 1000, photometric="rgb")
                row |= {f"{name}_path": str(path.relative_to(raw)), f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            rows.append(row)
    tables.write(
        pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.int64() if name == "label" else pa.string()) for name in rows[0]])),
        dataset / "samples.parquet",
    )
    prepare.run(dataset, raw, PREPARED, prepared, Progress(), xyz_scale=1e-3)
    features.run(prepared, FEATURES, root / "weights", featured, Progress())
    serving = predictor_folder.Serving(PREPARED, FEATURES, 1e-3, root / "weights")
    train.run(featured, MODEL, model, scratch, Progress(), NullJournal(), serving)
    return Line(raw, featured, model, [str(row["id"]) for row in rows])


@pytest.fixture(scope="module")
def predictor(line: Line) -> Predictor:
    return Predictor.load(line.model / "predictor")


def frame(line: Line, ids: list[str], cell: Callable[[Path], object] = lambda path: path) -> pd.DataFrame:
    pairs = [line.files(part) for part in ids]
    return pd.DataFrame({"rgb": [cell(rgb) for rgb, _ in pairs], "xyz": [cell(xyz) for _, xyz in pairs]}, dtype=object)


def test_same_numbers_as_the_batch_pipeline(line: Line, predictor: Predictor) -> None:
    """Extracted again from the raw files: scores and maps equal those from the stored features, bit for bit."""
    folder, network = FeatureFolder(line.features), train.load_network(line.model)
    result = predictor.predict(frame(line, line.ids))
    for part, (_, row) in zip(line.ids, result.iterrows(), strict=True):
        scored = scoring.score_network(network, folder.part(part), train.map_options(MODEL))
        assert row["score"] == scored.scores["product"], part
        assert np.array_equal(predict.decode_map(row["map"]), scored.maps["product"].astype(np.float16))
    calibration = train.load_calibration(line.model)
    assert (result["threshold"] == calibration.image_threshold).all()
    assert (result["is_anomaly"] == (result["score"] > calibration.image_threshold)).all()
    assert {part: result["score"][i] for i, part in enumerate(line.ids) if "/validation/" in part} == calibration.scores


def test_paths_bytes_base64_and_arrays_agree_and_rows_do_not_depend_on_each_other(line: Line, predictor: Predictor) -> None:
    ids = line.ids[-2:]
    expected = predictor.predict(frame(line, ids))
    forms: dict[str, Callable[[Path], object]] = {
        "bytes": Path.read_bytes,
        "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
        "array": lambda path: np.asarray(Image.open(path)) if path.suffix == ".png" else tifffile.imread(path),
    }
    for cell in forms.values():
        pd.testing.assert_frame_equal(predictor.predict(frame(line, ids, cell)), expected)
    pd.testing.assert_frame_equal(predictor.predict(frame(line, ids[1:])), expected.iloc[1:].reset_index(drop=True))


@pytest.mark.slow
def test_a_fresh_process_gives_identical_scores_from_the_folder_alone(line: Line, predictor: Predictor, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(line.model / "predictor", moved)
    rgb, xyz = line.files(line.ids[-1])
    script = (
        "import sys, pandas as pd, pathlib\nfrom tenfold.crossmodal_anomaly.predict import Predictor\n"
        "cells = [pathlib.Path(p).read_bytes() for p in sys.argv[2:]]\n"
        "frame = pd.DataFrame({'rgb': cells[:1], 'xyz': cells[1:]})\n"
        "print(Predictor.load(pathlib.Path(sys.argv[1]), bytes_only=True).predict(frame).to_json(double_precision=15))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(_threads())}
    done = subprocess.run(
        [sys.executable, "-c", script, str(moved), str(rgb), str(xyz)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    other = json.loads(done.stdout.splitlines()[-1])
    mine = predictor.predict(frame(line, line.ids[-1:]))
    assert other["score"]["0"] == pytest.approx(mine["score"][0], abs=1e-14) and other["map"]["0"] == mine["map"][0]


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def test_boxes_lie_on_the_part(line: Line, predictor: Predictor) -> None:
    rows = predictor.predict(frame(line, line.ids))
    found = [box for text in rows["boxes"] for box in json.loads(text)]
    assert found
    for box in found:
        assert 0 <= box["x"] and 0 <= box["y"] and box["x"] + box["w"] <= 128 and box["y"] + box["h"] <= 128
        assert box["w"] > 0 and box["h"] > 0 and box["area_mm2"] > 0 and box["score"] > predictor.recipe.pixel_threshold
        assert box["max_depth_deviation_mm"] is None or 0 <= box["max_depth_deviation_mm"] < 50


def test_missing_modality_and_bad_bytes(line: Line, predictor: Predictor) -> None:
    whole = frame(line, line.ids[:2], Path.read_bytes)
    with pytest.raises(BadData, match="no column `xyz`.*both"):
        predictor.predict(whole[["rgb"]])
    for value, words in (
        (None, "empty.*both modalities"),
        (float("nan"), "empty"),
        (b"", "empty"),
        (b"no picture", "unreadable"),
        (str(line.files(line.ids[0])[0]), "not base64"),
        (7, "type int"),
        (line.raw / "absent.png", "absent.png cannot be read"),
        (np.zeros((8, 8), np.uint8), r"\(8, 8\)"),
        (np.zeros((8, 8, 3)), "float64"),
    ):
        broken = whole.copy()
        broken.at[1, "rgb"] = value
        with pytest.raises(BadData, match=f"(?s)row 1: .*{words}"):
            predictor.predict(broken)
    truncated = whole.copy()
    truncated.at[0, "xyz"] = truncated.at[0, "xyz"][:5000]
    with pytest.raises(BadData, match="row 0: .*truncated"):
        predictor.predict(truncated)


def test_sizes_that_differ(line: Line, predictor: Predictor) -> None:
    rgb, xyz = (path.read_bytes() for path in line.files(line.ids[0]))
    stream = io.BytesIO()
    Image.open(io.BytesIO(rgb)).resize((100, 128)).save(stream, "PNG")
    with pytest.raises(BadData, match="row 0: .*128x128.*(100x128|128x100)"):
        predictor.predict(pd.DataFrame({"rgb": [stream.getvalue()], "xyz": [xyz]}))


def test_a_scan_without_a_part(line: Line, predictor: Predictor) -> None:
    with pytest.raises(BadData, match="0 points are left"):
        predictor.predict(pd.DataFrame({"rgb": [np.zeros((64, 64, 3), np.uint8)], "xyz": [np.zeros((64, 64, 3), np.float32)]}))


def test_bytes_only_refuses_paths(line: Line) -> None:
    with pytest.raises(BadData, match="PosixPath"):
        Predictor.load(line.model / "predictor", bytes_only=True).predict(frame(line, line.ids[:1]))


def test_parameters(line: Line, predictor: Predictor) -> None:
    row = frame(line, line.ids[:1])
    assert predictor.predict(row, {"maps": False})["map"][0] == ""
    with pytest.raises(UsageError, match="'maps'"):
        predictor.predict(row, {"map": False})


def test_damaged_folder(line: Line, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"predictor\.json"):
        Predictor.load(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(line.model / "predictor", broken)
    weights = broken / "extractor" / predictor_folder.LITE0
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(BadData, match="sha256"):
        Predictor.load(broken)
    (broken / predictor_folder.CALIBRATION).unlink()
    with pytest.raises(Corrupt, match="take it from the model again"):
        Predictor.load(broken)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return parser.parse_args(list(words))


def test_command_line(line: Line, predictor: Predictor, tmp_path: Path) -> None:
    request, names = predict.read_inputs(arguments(str(line.raw / "biscuit" / "test")))
    assert names == ["good/000", "hole/000", "mismatch/000"]
    rgb, xyz = line.files(line.ids[-1])
    assert predict.read_inputs(arguments("--rgb", str(rgb), "--xyz", str(xyz)))[1] == ["000"]
    assert predict.read_inputs(arguments(str(rgb.parent.parent)))[1] == ["000"]
    text = predict.write(predictor.predict(request), names, tmp_path)
    assert text.count("\n") == 3 and "hole/000: " in text
    with (tmp_path / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == names and json.loads(rows[1]["boxes"]) is not None
    assert np.load(tmp_path / "maps/hole/000.npy").shape == (64, 64)
    assert Image.open(tmp_path / "heat/hole/000.png").size == (64, 64)
    plain = tmp_path / "plain"
    request, names = predict.read_inputs(arguments("--no-maps", str(line.raw / "biscuit" / "test" / "good")))
    predict.write(predictor.predict(request), names, plain)
    assert [path.name for path in plain.iterdir()] == ["scores.csv"]


def test_bad_arguments(line: Line, tmp_path: Path) -> None:
    rgb, xyz = line.files(line.ids[0])
    for words, says in (
        ([], "name a folder"),
        (["--rgb", str(rgb)], "go together"),
        ([str(rgb)], "is no folder"),
        ([str(tmp_path)], "no folder named rgb"),
        ([str(rgb.parent.parent), str(rgb.parent.parent)], "two parts"),
    ):
        with pytest.raises(UsageError, match=says):
            predict.read_inputs(arguments(*words))
    lonely = tmp_path / "lonely"
    shutil.copytree(rgb.parent.parent, lonely)
    (lonely / "xyz" / "001.tiff").unlink()
    with pytest.raises(BadData, match="rgb/ has `001`, xyz/ has not"):
        predict.read_inputs(arguments(str(lonely)))


def plane_with_dent(size: int = 64, tilt: float = 0.3, depth: float = 0.002) -> tuple[np.ndarray, np.ndarray]:
    """A tilted plane, 1 mm a pixel in x and y, with a square dent of 6x6 px."""
    y, x = np.mgrid[:size, :size] * 1e-3
    z = 0.5 + tilt * x
    dent = np.zeros((size, size), bool)
    dent[20:26, 30:36] = True
    return np.stack([x, y, z + depth * dent], axis=-1).astype(np.float32), dent


def test_region_by_hand() -> None:
    xyz, dent = plane_with_dent()
    image = dent.astype(np.float32) * 3
    found = regions.regions(image, 1.0, xyz, np.ones_like(dent), Square(height=100, width=120, top=14, left=4, side=128))
    assert len(found) == 1
    region = found[0]
    assert (region.x, region.y, region.w, region.h) == (2 * 30 - 4, 2 * 20 - 14, 12, 12)
    assert region.score == 3 and region.max_depth_deviation_mm == pytest.approx(2.0, abs=1e-3)
    assert regions.pixel_areas(plane_with_dent(depth=0)[0], np.ones_like(dent))[5, 5] == pytest.approx(np.sqrt(1 + 0.3**2), rel=1e-4)
    total = regions.pixel_areas(plane_with_dent(depth=0)[0], np.ones_like(dent))[dent].sum()
    assert total == pytest.approx(36 * np.sqrt(1.09), rel=1e-4)


def test_regions_without_points_and_outside_the_image() -> None:
    xyz, dent = plane_with_dent()
    image = dent.astype(np.float32)
    hole = regions.regions(image, 0.5, np.where(dent[..., None], 0, xyz).astype(np.float32), ~dent, Square(64, 64, 0, 0, 64))[0]
    assert hole.max_depth_deviation_mm is None and hole.area_mm2 == pytest.approx(36 * np.sqrt(1.09), rel=0.02)
    assert regions.regions(image, 0.5, xyz, np.ones_like(dent), Square(10, 64, 54, 0, 64)) == []
    assert regions.regions(image, 1.0, xyz, np.ones_like(dent), Square(64, 64, 0, 0, 64)) == []


def test_diagonal_pixels_are_one_region_and_the_highest_comes_first() -> None:
    xyz, _ = plane_with_dent()
    image = np.zeros((64, 64), np.float32)
    image[3, 3] = image[4, 4] = 1
    image[40, 40] = 2
    found = regions.regions(image, 0.5, xyz, np.ones((64, 64), bool), Square(64, 64, 0, 0, 64))
    assert [(r.x, r.y, r.w, r.h) for r in found] == [(40, 40, 1, 1), (3, 3, 2, 2)]


def test_mappers_graph_gives_the_networks_numbers(line: Line) -> None:
    import onnxruntime
    import torch

    network = train.load_network(line.model)
    folder = FeatureFolder(line.features)
    f2, f3 = dense(folder.part(line.ids[0]))
    session = onnxruntime.InferenceSession(line.model / "predictor" / "mappers.onnx")
    guess3, guess2 = session.run(["f3_from_f2", "f2_from_f3"], {"f2": f2, "f3": f3})
    with torch.inference_mode():
        z2, z3 = network.normalise(torch.from_numpy(f2), torch.from_numpy(f3))
        np.testing.assert_allclose(guess3, network.m23(z2).numpy(), atol=1e-5)
        np.testing.assert_allclose(guess2, network.m32(z3).numpy(), atol=1e-5)
