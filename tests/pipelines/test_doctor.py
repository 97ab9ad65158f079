"""`tenfold doctor` finds what is wrong with an installation and what a crash left over."""

from pathlib import Path

import pytest

from pipelines import cli
from tenfold.core.store import Store

PAPER = "crossmodal_anomaly"


@pytest.fixture
def stored(tiny: Path) -> Path:
    """A root with one small output, current for nobody."""
    store = Store(tiny / ".tenfold")
    with store.working(PAPER, "features", "k1") as working:
        (working.out / "numbers").write_bytes(b"0123456789")
        store.publish(
            working, partition="demo.peg", upstream={}, block={}, overrides={}, code="", versions={}, made_by={}, seconds=0.0, facts={}
        )
    return tiny


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, list[str]]]:
    code = cli.main(["doctor", *words])
    found: dict[str, list[str]] = {}
    lines = capsys.readouterr().out.splitlines()
    for line in lines[:-1]:
        found.setdefault(line[6:25].strip(), []).append(f"{line[:5].strip()}: {line[25:]}")
    found["verdict"] = [lines[-1]]
    return code, found


def test_a_sound_installation(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = told(capsys, "--verify")
    assert code == 0 and found["verdict"] == ["all is well"], found
    assert found["dead runs"] == ["ok: no run is left over from a crash"]
    assert found["stored bytes"][0].startswith("ok: 1 outputs")
    assert found["python"][0].startswith("ok: 3.11") and found["spool"][0].startswith("ok")
    assert any(str(stored / ".tenfold") in line for line in found["folders"])


def test_verify_finds_a_flipped_bit(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored / ".tenfold" / "store" / PAPER / "features" / "k1" / "numbers"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    assert told(capsys)[0] == 0, "bytes are read when asked for"
    code, found = told(capsys, "--verify")
    assert code == 1 and found["verdict"] == ["1 finding(s) to act on"]
    assert found["stored bytes"][0].startswith("BAD") and str(path) in found["stored bytes"][0] and "made again" in found["stored bytes"][0]
    assert not path.exists()


def test_unfinished_work_is_told(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(stored / ".tenfold").working(PAPER, "model", "k2") as working:
        (working.scratch / "checkpoint").write_bytes(b"x" * 2**20)
    code, found = told(capsys)
    assert code == 0 and "1 unfinished output(s), 1 MiB" in found["unfinished work"][0]


def test_a_package_that_hides_mlflow_is_bad(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stored / "mlflow").mkdir()
    (stored / "mlflow" / "__init__.py").touch()
    code, found = told(capsys)
    assert code == 1 and found["mlflow package"][0].startswith("BAD") and "delete it" in found["mlflow package"][0]


def test_other_versions_than_the_lock_are_bad(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stored / "requirements").mkdir()
    (stored / "requirements" / "cpu.txt").write_text("numpy==0.1 \\\n    --hash=sha256:00\nno-such-package==1.0 \\\n    --hash=sha256:00\n")
    code, found = told(capsys)
    assert code == 1 and "numpy" in found["versions"][0] and "no-such-package missing" in found["versions"][0]
    assert "make install" in found["versions"][0]


def test_a_database_that_cannot_be_read_is_a_finding(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys)[0] == 0
    (stored / ".tenfold" / "dagster" / "history" / "runs.db").write_bytes(b"no database " * 1000)
    code, found = told(capsys)
    assert code == 1 and found["dead runs"][0].startswith("BAD") and "database" in found["dead runs"][0]
    assert found["unfinished work"] == ["ok: none"]


def test_a_damaged_home_does_not_end_it(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stored / ".tenfold" / "store" / PAPER / "features" / "k1" / "manifest.json").write_text("{")
    code, found = told(capsys, "--verify")
    assert code == 1 and "manifest" in found["stored bytes"][0]
    assert found["unfinished work"] and found["python"]
