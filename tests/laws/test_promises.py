"""Every fault in docs/operations.md has its promise, and tests that exist prove it."""

import ast
import re

import pytest
from support import CHECKOUT

TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (CHECKOUT / "docs" / "operations.md").read_text().splitlines()
    if re.match(r"\|\s*F\d+\s*\|", line)
]
NAMED = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")


def test_every_fault_has_a_row() -> None:
    assert [row[0] for row in TABLE] == [f"F{number}" for number in range(1, 20)]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_its_tests_exist(row: list[str]) -> None:
    _, inject, promise, proof = row
    assert inject and promise
    found = NAMED.findall(proof)
    # the soak takes half an hour and is no test: a target of the Makefile
    assert found or "make soak" in proof
    for path, name in found:
        tree = ast.parse((CHECKOUT / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, f"{path} has no {name}"
