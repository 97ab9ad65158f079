"""The metrics table and the statistics: AUROC against scikit-learn and its laws, the bootstrap against a plain loop."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from tenfold.core.metrics import METRICS_SCHEMA, Row, Subject, auroc, auroc_rows, bootstrap, from_table, to_table

ROW = Row(paper="p", dataset="d", partition="d.u", method="ours", metric="i_auroc", value=0.5, lo=0.4, hi=0.6, n=10, better="up")


@st.composite
def scored(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    n = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda each: 0 < sum(each) < n))
    # A few values only, so that most are tied.
    scores = draw(st.lists(st.sampled_from([-1e300, -1.5, 0.0, 1e-12, 0.25, 3.0, math.inf]) | st.floats(-5, 5), min_size=n, max_size=n))
    return np.array(labels), np.array(scores)


@settings(deadline=None, max_examples=50)
@given(scored())
def test_auroc_is_that_of_scikit_learn(case: tuple[NDArray[np.int64], NDArray[np.float64]]) -> None:
    labels, scores = case
    finite = np.where(np.isinf(scores), 1e301, scores)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, finite), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(scored())
def test_auroc_is_the_chance_that_a_positive_wins(case: tuple[NDArray[np.int64], NDArray[np.float64]]) -> None:
    labels, scores = case
    above, below = scores[labels == 1][:, None], scores[labels == 0][None]
    assert auroc(labels, scores) == pytest.approx(((above > below) + 0.5 * (above == below)).mean(), abs=1e-12)
    assert auroc(1 - labels, scores) == pytest.approx(1 - auroc(labels, scores), abs=1e-12)
    assert auroc(labels, np.argsort(np.argsort(np.unique(scores)))[np.searchsorted(np.unique(scores), scores)]) == auroc(labels, scores)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_auroc_takes_any_number_type_and_shape(dtype: type[Any]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (20, 30))
    scores = generator.integers(0, 50, (20, 30)).astype(dtype)
    assert auroc(labels.astype(bool), scores) == pytest.approx(roc_auc_score(labels.ravel(), scores.ravel()), abs=1e-12)


def test_auroc_of_one_class_is_nan_and_nonsense_is_refused() -> None:
    assert math.isnan(auroc([1, 1], [0.1, 0.2]))
    assert math.isnan(auroc([], []))
    with pytest.raises(ValueError, match="0 or 1"):
        auroc([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        auroc([0, 1], [0.1, math.nan])
    with pytest.raises(ValueError, match="differ in shape"):
        auroc([0, 1], [0.1])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 30), st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**32))
def test_rows_are_scored_as_one_by_one(items: int, draws: int, values: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (draws, items))
    scores = generator.integers(0, values, (draws, items)) / 7
    one_by_one = [auroc(*pair) for pair in zip(labels, scores, strict=True)]
    np.testing.assert_allclose(auroc_rows(labels, scores), one_by_one, rtol=0, atol=1e-15)


def test_rows_need_two_dimensions() -> None:
    with pytest.raises(ValueError, match=r"\(draws, items\)"):
        auroc_rows([0, 1], [0.0, 1.0])


def test_the_bootstrap_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(1)
    labels, scores = generator.integers(0, 2, 30), generator.normal(size=30)
    drawn = np.random.default_rng(7).integers(0, 30, (200, 30))
    values = [auroc(labels[each], scores[each]) for each in drawn]
    wanted = np.quantile(values, [0.05, 0.95])
    assert bootstrap(30, lambda i: auroc_rows(labels[i], scores[i]), 200, 7, level=0.9) == pytest.approx(tuple(wanted), abs=1e-12)


def test_the_bootstrap_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(2).normal(size=2000)
    lo, hi = bootstrap(2000, lambda i: values[i].mean(axis=1), 4000, 0)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert (lo, hi) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert (lo, hi) == bootstrap(2000, lambda i: values[i].mean(axis=1), 4000, 0)
    assert (lo, hi) != bootstrap(2000, lambda i: values[i].mean(axis=1), 4000, 1)


def test_the_bootstrap_holds_a_bounded_number_of_indices() -> None:
    sizes: list[int] = []

    def mean(indices: NDArray[np.int64]) -> NDArray[np.float64]:
        sizes.append(indices.size)
        return np.asarray(indices.mean(axis=1))

    bootstrap(1 << 20, mean, 10, 0)
    assert sizes == [1 << 22, 1 << 22, 1 << 21]


def test_draws_without_a_value_are_left_out() -> None:
    labels, scores = np.array([0, 1]), np.array([0.0, 1.0])
    assert bootstrap(2, lambda i: auroc_rows(labels[i], scores[i]), 100, 0) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap(2, lambda i: np.full(len(i), math.nan), 100, 0)))
    assert all(map(math.isnan, bootstrap(0, lambda i: i.mean(axis=1), 100, 0)))
    with pytest.raises(ValueError, match="one a draw"):
        bootstrap(2, lambda i: 1.0, 100, 0)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.none() | st.floats(-9, 9)), unique_by=lambda each: each[:2]),
)
def test_rows_survive_the_table(cases: list[tuple[str, int, float | None]]) -> None:
    rows = [
        replace(ROW, method=method, seed=seed, value=value, reason="" if value is not None else "none") for method, seed, value in cases
    ]
    table = to_table(rows)
    assert table.schema == METRICS_SCHEMA
    assert from_table(table) == rows


def test_a_nan_becomes_null_with_its_reason() -> None:
    table = to_table([replace(ROW, value=math.nan, lo=math.nan, hi=math.nan, reason="one class only")])
    assert from_table(table) == [replace(ROW, value=None, lo=None, hi=None, reason="one class only")]


def test_the_columns_are_those_of_the_contract() -> None:
    wanted = "paper dataset partition method variant seed slice metric value lo hi n better scale timing model_key data_version reason"
    assert sorted(METRICS_SCHEMA.names) == sorted(wanted.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "I-AUROC"}, "a-z, 0-9"),
        ({"better": "higher"}, "none of up, down, none"),
        ({"value": None}, "needs a reason"),
        ({"value": math.nan}, "needs a reason"),
        ({"lo": 0.7}, "exceeds hi"),
    ],
)
def test_a_bad_row_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_table([replace(ROW, **change)])


@pytest.mark.parametrize("name", ["partition", "method", "variant", "seed", "slice", "metric"])
def test_a_number_stands_once(name: str) -> None:
    change: dict[str, Any] = {name: 1 if name == "seed" else "other"}
    assert to_table([ROW, replace(ROW, **change)]).num_rows == 2
    with pytest.raises(ValueError, match="more than once"):
        to_table([ROW, replace(ROW, value=0.9, hi=1.0)])


def test_a_subjects_rows_share_its_columns_and_a_missing_number_has_a_reason() -> None:
    subject = Subject({"paper": "zoo", "dataset": "demo", "partition": "demo"}, "ours", "shots=5", 2)
    row = subject.row("share", 0.5, 3, "up", slice="split=test", lo=0.4, hi=0.6)
    assert (row.method, row.variant, row.seed, row.slice, row.partition) == ("ours", "shots=5", 2, "split=test", "demo")
    assert (row.value, row.lo, row.hi, row.reason) == (0.5, 0.4, 0.6, "")
    for value in (None, math.nan, math.inf):
        lost = subject.row("share", value, 0, "up", lo=0.4, hi=0.6, reason="no test part")
        assert (lost.value, lost.lo, lost.hi, lost.reason) == (None, None, None, "no test part")
    assert subject.row("share", math.nan, 0, "up").reason == "not a finite number"
    assert subject.row("share", 0.5, 3, "up", lo=math.nan, hi=0.6).hi is None
    assert hash(subject) == hash(Subject({}, "ours", "shots=5", 2))
