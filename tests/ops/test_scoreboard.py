"""The gather over partitions: what is there, found again, honest about what is damaged."""

from pathlib import Path

import pytest

from tenfold.core import claims, metrics, tables
from tenfold.core.errors import Corrupt
from tenfold.core.store import Store
from tenfold.ops import scoreboard
from tenfold.ops.settings import Settings

PAPER = "crossmodal_anomaly"
PARTITIONS = {PAPER: ["demo.biscuit", "demo.peg"]}


def row(partition: str, method: str, metric: str, value: float | None, **more: object) -> metrics.Row:
    values = {
        "paper": PAPER, "dataset": "demo", "partition": partition, "method": method, "variant": "", "seed": 0, "slice": "all", "metric": metric,
        "value": value, "lo": None, "hi": None, "reason": "" if value is not None else "nothing to measure", "n": 9, "better": "up", "scale": "1",
        "timing": False, "model_key": "k", "data_version": "v", **more,
    }  # fmt: skip
    return metrics.Row(**values)


def evaluate(settings: Settings, partition: str, value: float) -> Path:
    """Make current an evaluation with these numbers."""
    store, key = Store(settings.home), f"{partition.replace('.', '_')}_{value}"
    rows = [
        row(partition, "ours", "aupro_30", value),
        row(partition, "bank", "aupro_30", value / 2),
        row(partition, "ours", "aupro_30", 0.0, variant="shots=5"),
        row(partition, "ours", "p_auroc", None),
        row(partition, "bank", "p_auroc", 0.7),
        row(partition, "ours", "recall", 0.5),
        row(partition, "ours", "ms_map", 3.0, scale="ms", timing=True, better="down"),
        row(partition, "bank", "ms_map", 4.0, scale="ms", timing=True, better="down"),
    ]
    with store.working(PAPER, "evaluation", key) as working:
        tables.write(metrics.to_table(rows), working.out / "metrics.parquet")
        claims.write([], working.out / "claims.json")
        made = store.publish(
            working, partition=partition, upstream={}, block={}, overrides={}, code="", versions={}, made_by={}, seconds=2.5
        )
    store.set_current(PAPER, partition, "evaluation", made.key, made.digest)
    return store.folder(PAPER, "evaluation", key)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, home=tmp_path / "home")


def test_one_partition_is_enough(here: Settings) -> None:
    assert scoreboard.update(here, PARTITIONS, "r").notes[0].value == 0
    evaluate(here, "demo.peg", 0.5)
    board = scoreboard.update(here, PARTITIONS, "r")
    assert board.notes[0].value == 1
    assert set(tables.read(board.folder / "scoreboard.parquet").column("partition").to_pylist()) == {"demo.peg"}
    assert "demo.peg" in (board.folder / "index.html").read_text()


def test_the_same_evaluations_are_found_again_and_new_ones_are_not(here: Settings) -> None:
    evaluate(here, "demo.peg", 0.5)
    first = scoreboard.update(here, PARTITIONS, "r1")
    assert scoreboard.update(here, PARTITIONS, "r2") == first
    evaluate(here, "demo.biscuit", 0.25)
    second = scoreboard.update(here, PARTITIONS, "r3")
    assert second.folder != first.folder and second.notes[0].value == 2
    assert Store(here.home).current("scoreboard", "all", "scoreboard").key == second.folder.name


def test_the_page_compares_methods_on_metrics_of_quality(here: Settings) -> None:
    evaluate(here, "demo.peg", 0.5)
    page = (scoreboard.update(here, PARTITIONS, "r").folder / f"{PAPER}.demo.html").read_text()
    assert page.index("aupro_30") < page.index("p_auroc") and "0.5" in page and "0.25" in page
    assert "aupro_30</h2>" in page and "ms_map</h2>" not in page and "recall</h2>" not in page
    assert "none for this data" in (scoreboard.update(here, PARTITIONS, "r").folder / "index.html").read_text()


def test_a_damaged_evaluation_is_named_with_its_remedy(here: Settings) -> None:
    path = evaluate(here, "demo.peg", 0.5) / "metrics.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Corrupt, match=r"tenfold run crossmodal_anomaly\.demo\.peg --to evaluation"):
        scoreboard.update(here, PARTITIONS, "r")


def test_the_papers_figure_is_shown_with_its_mark() -> None:
    entry = scoreboard.Entry(PAPER, "mvtec_3d_ad.bagel", pointer=None, folder=Path())  # type: ignore[arg-type]
    found = scoreboard.published(entry, "aupro_30")
    assert found.endswith("(recalled)") or found.endswith("(paper)") or found.endswith("(authors)")
