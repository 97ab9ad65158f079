"""Another number makes another network; the gate compares it with the champion on the same samples."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from support import tenfold

from tenfold.core.metrics import METRICS_SCHEMA
from tenfold.core.store import Manifest, Store
from tenfold.ops import registry
from tenfold.ops.settings import Settings

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PAPER, PARTITION = "crossmodal_anomaly", "demo.peg"
NAME = f"{PAPER}.{PARTITION}"
WORDS = ["run", NAME, "--set", "model.lr=2.0e-3"]


def opened(root: Path, asset: str) -> tuple[Path, Manifest]:
    return Store(root / ".tenfold").open(PAPER, PARTITION, asset)


def headline(rows: list[dict[str, Any]], method: str) -> float:
    (value,) = [
        r["value"] for r in rows if (r["method"], r["metric"], r["variant"], r["slice"], r["seed"]) == (method, "aupro_30", "", "all", 0)
    ]
    return float(value)


def test_a_new_network_meets_the_champion(copied: Path) -> None:
    old = opened(copied, "model")[1].key
    done = tenfold(copied, *WORDS)
    assert done.returncode == 0, done.stderr
    assert "4 of 8 assets made" in done.stdout
    for asset in ("dataset", "prepared", "features", "baselines"):
        assert f"{PARTITION} {asset}: unchanged" in done.stderr
    for asset in ("model", "evaluation", "report", "champion"):
        assert f"{PARTITION} {asset}: made in" in done.stderr

    folder, decision = opened(copied, "champion")
    table = pq.read_table(folder / "metrics.parquet")
    assert table.schema.equals(METRICS_SCHEMA)
    rows = table.to_pylist()
    assert {row["method"] for row in rows} == {"champion"} and {row["model_key"] for row in rows} == {old}
    mine = pq.read_table(opened(copied, "evaluation")[0] / "metrics.parquet").to_pylist()
    assert {row["n"] for row in rows if row["metric"] == "i_auroc" and row["slice"] == "all"} == {13}, "every test part"
    facts = decision.facts
    assert (facts["new"], facts["champion"]) == (headline(mine, "ours"), headline(rows, "champion"))
    # the champion's own evaluation measured it on the same samples: from the raw scans on, the same numbers come out
    first = Store(copied / ".tenfold")
    before = [m for m in first.entries() if m.asset == "evaluation" and m.manifest and m.manifest.upstream["model"]["key"] == old]
    assert headline(
        pq.read_table(first.folder(PAPER, "evaluation", before[0].key) / "metrics.parquet").to_pylist(), "ours"
    ) == pytest.approx(facts["champion"], abs=0.02)
    gain, least = facts["new"] - facts["champion"], decision.block["least_gain"]
    assert facts["promoted"] is (gain > 0 and gain >= least)

    settings = Settings(root=copied, home=copied / ".tenfold")
    new = opened(copied, "model")[1].key
    assert registry.peek(settings, NAME) == (("2", new) if facts["promoted"] else ("1", old))
    client = MlflowClient(settings.mlflow_tracking_uri)
    assert str(client.get_model_version_by_alias(NAME, "challenger").version) == "2"

    # somebody gives the alias to the other version in MLflow's page
    client.set_registered_model_alias(NAME, "champion", "1" if facts["promoted"] else "2")
    noticed = tenfold(copied, *WORDS)
    assert noticed.returncode == 0 and "1 of 8 assets made" in noticed.stdout, noticed.stderr
    assert f"{PARTITION} champion: made in" in noticed.stderr
    assert registry.peek(settings, NAME) == (("1", old) if facts["promoted"] else ("2", new)), "the hand decides"
    assert "nothing changed" in tenfold(copied, *WORDS).stdout
