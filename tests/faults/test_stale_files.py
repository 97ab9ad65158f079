"""Smaller data into the same place: nothing of the larger ones remains.

Figures of a report: `tests/crossmodal_anomaly/test_report.py::test_figures_are_written`.
"""

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from small_runs import PAPER, PARTITION, Run
from support import CHECKOUT

from tenfold.core import params
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.store import Store
from tenfold.crossmodal_anomaly import config, data, maps, predict, predictor_folder
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.scoring import Calibration


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def write_parts(folder: Path, ids: list[str]) -> None:
    with ShardWriter(folder, 100, ids) as writer:
        for id in ids:
            if id not in writer.done:
                writer.add(id, {"x": np.full(20, int(id), np.float32)})


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "killed"])
def test_an_attempt_with_more_parts_leaves_none_of_them_in_what_is_published(tmp_path: Path, finished: bool) -> None:
    store, key = Store(tmp_path), "0123456789abcdef"
    with store.working("p", "features", key) as working:
        write_parts(working.out / "parts", [str(number) for number in range(9)])
        if not finished:
            (working.out / "parts" / "index.json").unlink()
    with store.working("p", "features", key) as working:
        write_parts(working.out / "parts", ["0", "1", "4"])
        manifest = store.publish(
            working, partition="demo", upstream={}, block={}, overrides={}, code="", versions={}, made_by={}, seconds=0.0
        )
    assert ShardReader(store.folder("p", "features", key) / "parts").ids == ["0", "1", "4"]
    with store.working("p", "features", "fresh") as working:
        write_parts(working.out / "parts", ["0", "1", "4"])
        assert listing(working.out) == set(manifest.files)


def test_a_dataset_is_replaced_whole_by_a_smaller_one(tiny: Path) -> None:
    def build(train: int, units: list[str]) -> set[str]:
        tree = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
        demo = tree[PAPER]["datasets"]["demo"]
        demo["units"], demo["make"] = units, {**demo["make"], "train": train, "validation": 1, "good": 1, "per_defect": 1, "side": 64}
        tree[PAPER]["recipes"]["demo"]["dataset"]["max_quarantine"] = 0.9
        (tiny / params.FILE).write_text(yaml.safe_dump(tree))
        data.build(tiny, "demo")
        return listing(tiny / "data" / PAPER / "demo")

    larger, smaller = build(3, ["biscuit", "peg"]), build(2, ["peg"])
    of_peg = {name for name in larger if not name.startswith("files/biscuit/")}
    assert smaller < of_peg < larger
    assert {name for name in of_peg - smaller if "/rgb/" in name} == {"files/peg/train/good/rgb/002.png"}
    assert listing(tiny / "data" / PAPER) == {f"demo/{name}" for name in smaller} | {".demo.lock"}


def test_a_predictor_is_replaced_whole(tiny: Path, tmp_path: Path) -> None:
    blocks = params.load(tiny)[PAPER]["recipes"]["demo"]
    serving = predictor_folder.Serving(
        params.typed(config.Prepared, blocks["prepared"], ""), params.typed(config.Features, blocks["features"], ""), 1.0, tmp_path
    )
    calibration = Calibration(image_threshold=1.0, pixel_threshold=1.0, note="", scores={})
    options = maps.MapOptions("product", "boxes", "none", "zero")

    def write(folder: Path) -> set[str]:
        predictor_folder.write(folder, "peg", CrossModal(4, 3, "standard"), calibration, options, serving)
        return listing(folder)

    fresh = write(tmp_path / "predictor")
    (tmp_path / "predictor" / "extractor" / "of_a_larger_recipe.safetensors").write_bytes(b"x")
    assert write(tmp_path / "predictor") == fresh
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_predictions_into_one_folder_leave_the_maps_of_the_last_ones_only(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones((4, 4), np.float16))
    row = {"score": 1.0, "is_anomaly": True, "threshold": 0.5, "boxes": "[]", "map": base64.b64encode(stream.getvalue()).decode()}

    def write(*names: str) -> set[str]:
        predict.write(pd.DataFrame([row] * len(names)), names, tmp_path / "out")
        return listing(tmp_path / "out")

    write("line/a", "line/b", "c")
    (tmp_path / "out" / "maps" / "mine.npy").write_bytes(b"the user's own")
    (tmp_path / "secret.npy").write_bytes(b"outside")
    assert write("c") == {"scores.csv", "maps/c.npy", "heat/c.png", "maps/mine.npy"}
    (tmp_path / "out" / "scores.csv").write_text("name\n../../secret\n")
    assert write("d") == {"scores.csv", "maps/c.npy", "heat/c.png", "maps/d.npy", "heat/d.png", "maps/mine.npy"}
    assert (tmp_path / "secret.npy").exists()


def test_other_data_have_a_place_of_their_own(tiny: Path) -> None:
    """Retraining never writes where an earlier model stands: the place is named by what the model is made from."""
    larger, smaller = Run("larger", tiny), Run("smaller", tiny)
    larger.go()
    before = {name: (folder := larger.store.open(PAPER, PARTITION, name)[0], listing(folder)) for name in larger.current()}
    smaller.go()
    for name, manifest in smaller.current().items():
        folder, files = before[name]
        assert smaller.store.folder(PAPER, name, manifest.key) != folder and listing(folder) == files
