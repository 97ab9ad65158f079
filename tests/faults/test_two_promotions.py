"""Two runs that both want to be champion: the better one is, and the later one was measured against the earlier one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import CHECKOUT, environment, lay_out


@pytest.mark.slow
def test_two_promotions_at_once(tmp_path: Path) -> None:
    program = str(CHECKOUT / "tests" / "two_promotions.py")
    done = subprocess.run(
        [sys.executable, program, str(tmp_path)], env=environment(lay_out(tmp_path / "root")), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for first, found in json.loads(done.stdout.splitlines()[-1]).items():
        second = "b" if first == "a" else "a"
        facts = found["facts"]
        assert facts[first]["promoted"] and facts[first]["champion"] is None
        # there was no champion when the second one began
        assert facts[second]["champion"] == {"a": 0.6, "b": 0.7}[first] and facts[second]["against"] == first * 16
        assert facts[second]["promoted"] == (second == "b")
        assert found["champion"] == [facts["b"]["version"], "b" * 16]
        assert found["challenger"] == [facts[second]["version"], second * 16]
        assert {facts["a"]["version"], facts["b"]["version"]} == {"1", "2"}
        # the first one's model no longer counts: its decision stands in the store and is not made current
        assert list(found["failures"]) == [first] and "another run" in found["failures"][first] and found["current"]
