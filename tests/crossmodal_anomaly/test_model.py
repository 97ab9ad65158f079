"""The mappers: the paper's size, the laws of its loss and its distances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.crossmodal_anomaly.model import CrossModal, chord, cosine, mapper


def network(channels2d: int = 7, channels3d: int = 5, seed: int = 0) -> CrossModal:
    torch.manual_seed(seed)
    return CrossModal(channels2d, channels3d)


def features(pixels: int, seed: int = 0, channels2d: int = 7, channels3d: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(pixels, channels2d, generator=generator), torch.randn(pixels, channels3d, generator=generator)


def test_parameters_at_the_papers_widths() -> None:
    model = CrossModal(768, 1152)
    assert sum(p.numel() for p in model.parameters()) == 5_535_360
    assert model.parameter_bytes() == 4 * 5_535_360
    assert [tuple(layer.weight.shape) for layer in model.m23[::2]] == [(960, 768), (960, 960), (1152, 960)]


def test_deep_has_seven_layers_and_pruned_widths_follow() -> None:
    assert len([m for m in mapper(8, 4, "deep") if isinstance(m, torch.nn.Linear)]) == 7
    assert CrossModal(768, 384).m32[0].weight.shape == (576, 384)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_distance_laws(seed: int, scale: float) -> None:
    """In [0, 2]; d^2 = 2 (1 - cos); the length of the target does not count; pixels do not know each other."""
    model = network().double()
    f2, f3 = (f.double() for f in features(40, seed))
    with torch.no_grad():
        d2, d3 = model.distances(f2, f3)
        cos23, cos32 = model.cosines(f2, f3)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(40))
        shuffled = model.distances(f2[order], f3[order])
        guess = model.m23(f2)
    assert (torch.cat([d2, d3]) >= 0).all() and (torch.cat([d2, d3]) <= 2 + 1e-12).all()
    torch.testing.assert_close(d3**2, 2 * (1 - cos23))
    torch.testing.assert_close(d2**2, 2 * (1 - cos32))
    torch.testing.assert_close(shuffled[0], d2[order])
    torch.testing.assert_close(shuffled[1], d3[order])
    torch.testing.assert_close(chord(guess, scale * f3), d3)
    torch.testing.assert_close(cosine(guess, scale * f3), cos23)


def test_cosine_equals_torch_and_is_zero_for_a_zero_vector() -> None:
    f2, f3 = features(50, channels2d=6, channels3d=6)
    torch.testing.assert_close(cosine(f2, f3), torch.nn.functional.cosine_similarity(f2, f3))
    assert cosine(torch.zeros(1, 6), f3[:1]).item() == 0
    assert torch.isfinite(chord(torch.zeros(1, 6), torch.zeros(1, 6))).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.floats(0.0, 4.0))
def test_offset_is_one_more_component_of_both_sides(seed: int, offset: float) -> None:
    guess, target = (f.double() for f in features(30, seed, 6, 6))
    constant = torch.full((30, 1), offset * 6**0.5, dtype=torch.float64)
    long_guess, long_target = torch.cat([guess, constant], 1), torch.cat([target, constant], 1)
    torch.testing.assert_close(cosine(guess, target, offset), torch.nn.functional.cosine_similarity(long_guess, long_target))
    torch.testing.assert_close(chord(guess, target, offset), chord(long_guess, long_target))


def test_offset_calms_features_near_the_mean() -> None:
    """Two vectors that are both near zero differ in nothing but noise."""
    guess, target = (0.01 * f for f in features(50, 0, 6, 6))
    assert chord(guess, target, 0.5).max() < 0.1 < chord(guess, target).min()


def test_loss_is_the_mean_over_pixels_of_both_directions() -> None:
    model = network()
    f2, f3 = features(30)
    expected = sum(
        (1 - torch.nn.functional.cosine_similarity(guess, target)).mean() for guess, target in ((model.m23(f2), f3), (model.m32(f3), f2))
    )
    found = model.loss(f2, f3)
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["loss"], 2 - found["cosine_2to3"] - found["cosine_3to2"])


def test_loss_gradient() -> None:
    model = network(4, 3).double()
    f2, f3 = (f.double() for f in features(6, 1, 4, 3))
    first = model.m23[0].weight

    def loss(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, {"m23.0.weight": weight}, (f2, f3))

    model.forward = lambda f2, f3: model.loss(f2, f3)["loss"]  # type: ignore[method-assign]
    assert torch.autograd.gradcheck(loss, (first.detach().clone().requires_grad_(),))


def test_norm_is_applied_and_stored_with_the_weights() -> None:
    model = network()
    f2, f3 = features(20)
    mean2d, std2d, mean3d, std3d = torch.randn(7), torch.rand(7) + 0.5, torch.randn(5), torch.rand(5) + 0.5
    plain_offset = network()
    plain_offset.set_norm(torch.zeros(7), torch.ones(7), torch.zeros(5), torch.ones(5), 0.5)
    plain = plain_offset.distances(f2, f3)
    model.set_norm(mean2d, std2d, mean3d, std3d, 0.5)
    normed = model.distances(f2 * std2d + mean2d, f3 * std3d + mean3d)
    for a, b in zip(plain, normed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    other = CrossModal(7, 5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.distances(f2, f3)[0], model.distances(f2, f3)[0])


def test_mismatched_norm_is_refused() -> None:
    with pytest.raises(RuntimeError):
        network().set_norm(torch.zeros(6), torch.ones(7), torch.zeros(5), torch.ones(5))
