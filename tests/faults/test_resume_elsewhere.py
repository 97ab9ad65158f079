"""A checkpoint is gone on with by the code and the numbers it was made with; others have a work folder of their own.

What `fit` itself refuses or takes is in tests/core/test_training.py and, for other numbers of processes, tests/core/test_distributed.py.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_training import Training
from support import CHECKOUT

from tenfold.core import code
from tenfold.core.store import Store, content_key

ENTRY = "tenfold.crossmodal_anomaly.train"
LOOP = "tenfold/core/training.py"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A copy of our code, to edit."""
    folder = tmp_path / "src"
    for part in ("core", "crossmodal_anomaly"):
        shutil.copytree(CHECKOUT / "src" / "tenfold" / part, folder / "tenfold" / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "src" / "tenfold" / "__init__.py", folder / "tenfold")
    yield folder


def key(source: Path, **block: int) -> str:
    return content_key("crossmodal_anomaly", "model", {}, block, code.content(ENTRY, source))


def train(home: Path, key: str, die_at: int | None = None) -> int | None:
    """Train in the work folder of this key; the steps that were found there, or None."""

    class Died(Exception):
        pass

    def before_step(step: int) -> None:
        if step == die_at:
            raise Died

    run = Training()
    run.before_step = before_step
    with Store(home).working("crossmodal_anomaly", "model", key) as work:
        try:
            return run.fit(work.scratch).resumed_from
        except Died:
            return None


def edit(source: Path, text: str) -> None:
    with (source / LOOP).open("a") as stream:
        stream.write(text)


def test_newer_code_begins_anew_and_leaves_the_old_checkpoint_alone(source: Path, tmp_path: Path) -> None:
    old = key(source, batch=4)
    assert train(tmp_path / "home", old, die_at=10) is None
    edit(source, "\nMOMENTUM = 0.9\n")
    newer = key(source, batch=4)
    assert newer != old and train(tmp_path / "home", newer) is None
    shutil.copy(CHECKOUT / "src" / LOOP, source / LOOP)
    assert key(source, batch=4) == old and train(tmp_path / "home", old) == 9


def test_another_batch_begins_anew(source: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "home", key(source, batch=4), die_at=10) is None
    assert train(tmp_path / "home", key(source, batch=8)) is None
    assert train(tmp_path / "home", key(source, batch=4)) == 9


def test_a_comment_goes_on(source: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "home", key(source, batch=4), die_at=10) is None
    edit(source, "\n# a remark\n")
    assert train(tmp_path / "home", key(source, batch=4)) == 9
