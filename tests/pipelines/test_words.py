"""Wrong use of the command: exit code 2, the nearest name, and nothing is run."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

from pipelines import cli
from pipelines.commands.run import parse_overrides
from pipelines.papers import PAPERS
from pipelines.targets import Target, targets
from tenfold.core.errors import UsageError

PEG = "crossmodal_anomaly.demo.peg"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["crosmodal_anomaly"], "did you mean 'crossmodal_anomaly'?"),
        (["crossmodal_anomaly.demo.pegg"], "did you mean 'demo.peg'?"),
        ([PEG, "--to", "modle"], "did you mean 'model'?"),
        ([PEG, "--set", "modle.lr=1.0"], "did you mean 'model'?"),
        ([PEG, "--set", "model.lrr=1.0"], "did you mean 'lr'?"),
        ([PEG, "--set", "model.lr=fast"], "model.lr must be a finite number, not text 'fast'"),
        ([PEG, "--set", "model.lr=nan"], "model.lr must be a finite number"),
        ([PEG, "--set", "model.epochs=1.5"], "model.epochs must be a whole number"),
        ([PEG, "--set", "model.lr="], "model.lr must be a finite number"),
        ([PEG, "--set", "model.combine=produkt"], "did you mean 'product'?"),
        ([PEG, "--set", "model.seeds=[0"], "cannot be read"),
        ([PEG, "--set", "model.lr"], "write ASSET.NAME=VALUE"),
        ([PEG, "--set", "dataset.light=2"], "Change them in params.yaml"),
        ([PEG, "--to", "features", "--set", "model.lr=1.0e-2"], "has no effect with --to features"),
    ],
)
def test_wrong_words(tiny: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert cli.main(["run", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err and "Traceback" not in told.err and told.out == ""
    assert not (tiny / ".tenfold").exists()


def test_no_command_and_no_such_command_are_wrong_use() -> None:
    for words in ([], ["fly"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert command in capsys.readouterr().out


def test_numbers_as_people_write_them() -> None:
    found = parse_overrides(["model.lr=1e-3", "model.epochs=4", "model.seeds=[0, 1]", "model.combine=sum", "evaluation.ties=ramp"])
    assert found == {"model": {"lr": 0.001, "epochs": 4, "seeds": [0, 1], "combine": "sum"}, "evaluation": {"ties": "ramp"}}
    assert type(found["model"]["epochs"]) is int


def test_what_a_name_means(tiny: Path) -> None:
    both = [Target("crossmodal_anomaly", "demo.biscuit"), Target("crossmodal_anomaly", "demo.peg")]
    assert targets(None, tiny) == [*both, *(Target(paper, "demo") for paper in PAPERS[1:])]
    assert targets("crossmodal-anomaly", tiny) == targets("crossmodal_anomaly.demo", tiny) == both
    assert targets(PEG, tiny) == both[1:]


def test_a_dataset_whose_source_is_absent_says_where_to_put_it(tiny: Path) -> None:
    text = (tiny / "params.yaml").read_text()
    block = "    mine: {source: data/raw/mine, layout: mvtec_3d_ad, units: [tray], recipe: demo}\n"
    (tiny / "params.yaml").write_text(text.replace("  recipes:\n", f"{block}  recipes:\n", 1))
    with pytest.raises(UsageError, match="data/raw/mine does not exist"):
        targets("crossmodal_anomaly.mine.tray", tiny)


def test_missing_things_are_told_without_a_traceback(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", PEG, "--rgb", "a.png", "--xyz", "a.tiff"]) == 2
    assert f"Make one with `tenfold run {PEG}`" in capsys.readouterr().err
    assert cli.main(["reproduce", PEG]) == 2
    assert f"Make one with `tenfold run {PEG}`" in capsys.readouterr().err
    assert cli.main(["report", PEG]) == 1
    assert f"Make it with `tenfold run {PEG}`" in capsys.readouterr().err
    assert cli.main(["tool", "crossmodal_anomaly", "flyy"]) == 2
    assert "no tool `flyy`" in capsys.readouterr().err


def test_a_broken_params_file_is_named(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "params.yaml").write_text("crossmodal_anomaly: [")
    assert cli.main(["run", PEG]) == 2
    assert "params.yaml" in capsys.readouterr().err


def test_env_prints_what_a_shell_reads(tiny: Path) -> None:
    words = [sys.executable, "-m", "pipelines.cli", "env"]
    exports = subprocess.run(words, cwd=tiny, env=environment(tiny), capture_output=True, text=True, check=True).stdout
    script = f'{exports}\nprintf \'%s\\n\' "$TENFOLD_ROOT" "$DAGSTER_HOME" "$MLFLOW_TRACKING_URI"'
    said = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout.splitlines()
    home = tiny / ".tenfold"
    assert said == [str(tiny), str(home / "dagster"), f"sqlite:///{home}/mlflow/mlflow.db"]
    assert (home / "dagster" / "dagster.yaml").exists()
