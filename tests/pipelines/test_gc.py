"""`tenfold gc` frees what nobody needs, and nothing else."""

import re
from pathlib import Path

import pytest

from pipelines import cli
from tenfold.core.store import Store
from tenfold.ops import registry

PAPER = "crossmodal_anomaly"


def publish(store: Store, asset: str, key: str, upstream: dict[str, str] | None = None) -> None:
    with store.working(PAPER, asset, key) as working:
        (working.out / "content").write_bytes(key.encode() * 1000)
        store.publish(
            working, partition="demo.peg", upstream={name: {"key": other, "digest": other} for name, other in (upstream or {}).items()},
            block={}, overrides={}, code="", versions={}, made_by={}, seconds=0.0,
        )  # fmt: skip


def keys(store: Store) -> set[str]:
    return {entry.key for entry in store.entries()}


@pytest.fixture
def store(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An old champion and its lineage, a current model and its own, one failed attempt."""
    made = Store(tiny / ".tenfold")
    for generation in ("old", "new", "failed"):
        publish(made, "features", f"features_{generation}")
        publish(made, "model", f"model_{generation}", {"features": f"features_{generation}"})
    made.set_current(PAPER, "demo.peg", "model", "model_new", "d")
    monkeypatch.setattr(registry, "champions", lambda settings, paper: [f"{PAPER}.demo.peg"])
    monkeypatch.setattr(registry, "peek", lambda settings, name: ("1", "model_old"))
    return made


def test_it_only_shows_unless_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = keys(store)
    assert cli.main(["gc"]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"{PAPER} +model +2 +0\.0 +1 +0\.0", said) and "freed" not in said
    assert keys(store) == before


def test_delete_keeps_what_is_current_a_champions_and_their_lineage(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gc", "--delete"]) == 0
    assert keys(store) == {"features_old", "model_old", "features_new", "model_new"}
    assert re.search(r"freed [\d.]+ MiB", capsys.readouterr().out)


def test_unfinished_work_goes_unless_somebody_works_on_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    import multiprocessing

    with store.working(PAPER, "model", "left") as working:
        (working.scratch / "checkpoint").write_bytes(b"x")
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.Process(target=hold, args=(store.home, ready, done))
    other.start()
    try:
        assert ready.wait(20)
        assert cli.main(["gc", "--delete"]) == 0
    finally:
        done.set()
        other.join()
    assert {entry.key for entry in store.unfinished()} == {"busy"}
    assert f"kept {PAPER}/model busy" in capsys.readouterr().out


def hold(home: Path, ready: "object", done: "object") -> None:
    """Another process in the middle of its work."""
    with Store(home).working(PAPER, "model", "busy") as working:
        (working.scratch / "checkpoint").write_bytes(b"x")
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_damaged_manifests_do_not_break_it(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("features_failed", "features_new"):
        (store.folder(PAPER, "features", key) / "manifest.json").write_text("{")
    aside = store.home / "work" / "corrupt" / PAPER / "model" / "k-1"
    aside.mkdir(parents=True)
    (aside / "content").write_bytes(b"x" * 2**20)
    assert cli.main(["gc"]) == 0
    assert "damaged, set aside" in capsys.readouterr().out
    assert cli.main(["gc", "--delete"]) == 0
    assert keys(store) == {"features_old", "model_old", "features_new", "model_new"}
    assert not aside.exists()


def test_old_dagster_runs_are_deleted_when_asked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    import dagster as dg

    @dg.job
    def short() -> None: ...

    (store.home / "dagster").mkdir()
    with dg.DagsterInstance.get() as instance:
        short.execute_in_process(instance=instance)
        assert cli.main(["gc", "--delete", "--runs-older-than", "1"]) == 0
        assert "deleted 0 finished" in capsys.readouterr().out and instance.get_runs_count() == 1
        assert cli.main(["gc", "--delete", "--runs-older-than", "0"]) == 0
        assert "deleted 1 finished" in capsys.readouterr().out and instance.get_runs_count() == 0
