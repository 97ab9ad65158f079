"""params.yaml: typed blocks, and messages that name the place and the nearest name."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import params
from tenfold.core.errors import UsageError


@dataclass(frozen=True)
class Block:
    epochs: int
    lr: float
    deep: bool
    name: str
    seeds: list[int]
    weights: dict[str, str]
    mode: Literal["eval", "train", 1]


GOOD: dict[str, Any] = {
    "epochs": 3,
    "lr": 1.0e-3,
    "deep": False,
    "name": "x",
    "seeds": [0, 1],
    "weights": {"file": "a", "sha256": ""},
    "mode": "eval",
}
BLOCKS = st.fixed_dictionaries(
    {
        "epochs": st.integers(),
        "lr": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6),
        "deep": st.booleans(),
        "name": st.text(),
        "seeds": st.lists(st.integers()),
        "weights": st.dictionaries(st.text(), st.text()),
        "mode": st.sampled_from(["eval", "train", 1]),
    }
)


def root(tmp_path: Path, text: str) -> Path:
    (tmp_path / "params.yaml").write_text(text)
    return tmp_path


PAPER = """
paper_a:
  datasets:
    demo: {source: here, layout: l, recipe: small, units: [b, a], make: {n: 3}}
    plain: {source: here, layout: l, recipe: small}
    absent: {source: not/there, layout: l, recipe: small}
  recipes:
    small: {model: {lr: 1.0e-3}}
"""


@settings(deadline=None, max_examples=50)
@given(BLOCKS)
def test_a_right_block_comes_back_as_it_is(values: dict[str, Any]) -> None:
    made = params.typed(Block, values, "here")
    assert asdict(made) == values
    assert type(made.lr) is float


@settings(deadline=None, max_examples=50)
@given(BLOCKS, BLOCKS, st.sets(st.sampled_from([each.name for each in fields(Block)])))
def test_overrides_win_and_the_rest_stays(block: dict[str, Any], other: dict[str, Any], names: set[str]) -> None:
    made = asdict(params.resolve(Block, block, {name: other[name] for name in names}, "here"))
    assert made == {name: (other if name in names else block)[name] for name in block}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(GOOD)))
def test_every_missing_name_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=rf"demo\.model\.{name} .*is missing"):
        params.typed(Block, {key: value for key, value in GOOD.items() if key != name}, "demo.model")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", True, "epochs must be a whole number, not true/false True"),
        ("epochs", 1.0, "epochs must be a whole number, not the number 1.0"),
        ("epochs", "7", "epochs must be a whole number, not text '7'; write it without quotes"),
        ("lr", "1e-3", r"1\.0e-3, not 1e-3"),
        ("lr", float("nan"), "lr must be a finite number"),
        ("lr", float("inf"), "lr must be a finite number"),
        ("lr", 10**400, "lr must be a finite number"),
        ("lr", False, "lr must be a finite number, not true/false"),
        ("deep", 1, "deep must be true or false, not the whole number 1"),
        ("name", None, "name must be text, not null"),
        ("seeds", [0, "x"], r"seeds\[1\] must be a whole number, not text 'x'"),
        ("seeds", 3, "seeds must be a list, each a whole number"),
        ("weights", {"file": 3}, r"weights\.file must be text, not the whole number 3"),
        ("weights", {3: "x"}, "weights must be a mapping of names, each text"),
        ("mode", "evil", "mode must be one of eval, train, 1, not text 'evil'; did you mean 'eval'"),
        ("mode", 0, "mode must be one of eval, train, 1, not the whole number 0"),
        ("mode", True, "mode must be one of eval, train, 1, not true/false True"),
    ],
)
def test_a_wrong_type_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        params.typed(Block, GOOD | {name: value}, "demo.model")


def test_all_mistakes_come_at_once_with_the_nearest_name() -> None:
    values = {key: value for key, value in GOOD.items() if key != "epochs"} | {"epoch": 3, "deep": "yes"}
    with pytest.raises(UsageError) as caught:
        params.typed(Block, values, "w")
    assert str(caught.value).splitlines() == [
        "w.epoch is unknown; did you mean 'epochs'?",
        "w.epochs (a whole number) is missing; is 'epoch' meant?",
        "w.deep must be true or false, not text 'yes'",
    ]


def test_an_unknown_override_names_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"override w\.epocs is unknown; did you mean 'epochs'"):
        params.resolve(Block, GOOD, {"epocs": 1}, "w")


def test_partitions_are_those_of_datasets_whose_source_exists(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    values = params.load(root(tmp_path, PAPER))
    assert params.partitions(values, "paper_a", tmp_path) == ["demo.b", "demo.a", "plain"]
    assert params.split_partition("demo.b") == ("demo", "b")
    assert params.split_partition("plain") == ("plain", "")


def test_a_source_may_be_absolute_and_a_broken_link_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "not").mkdir()
    (tmp_path / "not" / "there").symlink_to(tmp_path / "gone")
    values = params.load(root(tmp_path, PAPER.replace("source: here", f"source: {tmp_path / 'elsewhere'}")))
    assert params.partitions(values, "paper_a", tmp_path) == ["demo.b", "demo.a", "plain"]


def test_a_dataset_keeps_its_whole_block(tmp_path: Path) -> None:
    found = params.datasets(params.load(root(tmp_path, PAPER)), "paper_a")
    assert list(found) == ["demo", "plain", "absent"]
    assert found["demo"].block["make"] == {"n": 3}
    assert (found["demo"].units, found["plain"].units) == (["b", "a"], [])


def test_a_recipe_has_a_block_an_asset(tmp_path: Path) -> None:
    values = params.load(root(tmp_path, PAPER))
    assert params.block(values, "paper_a", "small", "model") == {"lr": 1.0e-3}
    assert params.block(values, "paper_a", "small", "report") == {}
    with pytest.raises(UsageError, match="no recipe 'smal'; did you mean 'small'"):
        params.block(values, "paper_a", "smal", "model")
    with pytest.raises(UsageError, match="no paper 'paper_b'; did you mean 'paper_a'"):
        params.block(values, "paper_b", "small", "model")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("demo: {", "Demo: {", "datasets.Demo: a dataset's name"),
        ("demo: {", "de.mo: {", "datasets.de.mo: a dataset's name"),
        ("recipe: small, units", "recipe: smal, units", "no recipe 'smal'; did you mean 'small'"),
        ("layout: l, recipe: small, units", "layuot: l, recipe: small, units", "demo.layout is missing or not text; did you mean 'layuot'"),
        (
            "source: here, layout: l, recipe: small, units",
            "source: 3, layout: l, recipe: small, units",
            "demo.source is missing or not text",
        ),
        ("[b, a]", "[1, a]", "units: 1 is no unit name"),
        ("[b, a]", "[b/../c]", "is no unit name"),
        ("[b, a]", "[b, b]", "units must be a list of different names"),
        ("[b, a]", "b", "units must be a list of different names"),
        ("{n: 3}", "{n: null}", "demo.make.n is null"),
        ("{n: 3}", "{n: [1, ~]}", r"demo.make.n\[1\] is null"),
        ("  recipes:\n    small: {model: {lr: 1.0e-3}}", "", "paper_a.recipes must be a mapping, it is missing"),
    ],
)
def test_a_bad_dataset_block_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PAPER
    with pytest.raises(UsageError, match=message):
        params.datasets(params.load(root(tmp_path, PAPER.replace(old, new))), "paper_a")


def test_a_block_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    values = params.load(root(tmp_path, PAPER.replace("{lr: 1.0e-3}", "[1]")))
    with pytest.raises(UsageError, match="small.model must be a mapping, not the list"):
        params.block(values, "paper_a", "small", "model")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("a: {b: 1, c: {d: 1, d: 2}}", "'d' is given twice"),
        ("- a", "must hold one block a paper"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_load_reads_plain_yaml_only(tmp_path: Path, text: str, message: str) -> None:
    root(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        params.load(tmp_path)
    assert str(tmp_path / "params.yaml") in str(caught.value)


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    text = "b: &b {x: 1, y: 2}\nk: {i: &a {<<: *b, x: 3}}\nu: {<<: *a}\n"
    assert params.load(root(tmp_path, text))["u"] == {"x": 3, "y": 2}


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TENFOLD_ROOT"):
        params.load(tmp_path)


def test_the_repository_s_own_file_is_sound() -> None:
    here = Path(__file__).parents[2]
    values = params.load(here)
    for paper in values:
        assert "demo" in params.datasets(values, paper)
        assert params.partitions(values, paper, here)
