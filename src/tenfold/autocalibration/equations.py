"""The equations in plain NumPy: what every fast path is tested against, and the scenes on which problems are analysed.

Equation (4) of the paper for one pair of points and one view against the first: with `d = m_p x_p - m_q x_q` in each view,
`d_1^T w d_1 = Z_i d_i^T w d_i`. Unknown vector: [free entries of w | m_1,2..N | then a view: m_i,2..N, Z_i]; m_i1 = 1.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.geometry import homogeneous
from tenfold.autocalibration.problems import FREE, Problem, conic, terms

Complex = npt.NDArray[np.complex128]


def split(problem: Problem, unknowns: Complex) -> tuple[Complex, Complex, Complex]:
    """Free entries of w (..., k), ratios of depths m (..., views, points) and squared first depths Z (..., views)."""
    views, points, free = problem.views, problem.points, problem.free
    unknowns = np.asarray(unknowns)
    m = np.ones((*unknowns.shape[:-1], views, points), dtype=unknowns.dtype)
    z = np.ones((*unknowns.shape[:-1], views), dtype=unknowns.dtype)
    m[..., 0, 1:] = unknowns[..., free : free + points - 1]
    for view in range(1, views):
        at = free + points - 1 + (view - 1) * points
        m[..., view, 1:] = unknowns[..., at : at + points - 1]
        z[..., view] = unknowns[..., at + points - 1]
    return unknowns[..., :free], m, z


def residuals(problem: Problem, unknowns: Complex, image: Complex, edges: Sequence[tuple[int, int, int]] | None = None) -> Complex:
    """Left minus right side of each equation (..., equations); `image` (..., views, points, 2); `edges`: default the kept ones."""
    rows = np.array(problem.edges if edges is None else edges, dtype=np.int64).reshape(-1, 3)
    entries, m, z = split(problem, unknowns)
    w = conic(problem.kind, entries)
    lifted = m[..., None] * homogeneous(image)
    view, p, q = rows.T
    first = lifted[..., 0, p, :] - lifted[..., 0, q, :]
    other = lifted[..., view, p, :] - lifted[..., view, q, :]
    left = np.einsum("...ei,...ij,...ej->...e", first, w, first)
    return left - z[..., view] * np.einsum("...ei,...ij,...ej->...e", other, w, other)


def relative_residual(
    problem: Problem, unknowns: Complex, image: Complex, edges: Sequence[tuple[int, int, int]] | None = None
) -> npt.NDArray[np.float64]:
    """Largest residual of each solution (...,), relative to the cube of its largest unknown (at least 1): the equations' degree in them."""
    size = np.maximum(1.0, np.abs(unknowns).max(axis=-1))
    return np.asarray(np.abs(residuals(problem, unknowns, image, edges)).max(axis=-1) / size**3)


def jacobian(problem: Problem, unknowns: Complex, image: Complex, edges: Sequence[tuple[int, int, int]] | None = None) -> Complex:
    """Derivative of `residuals` by the unknowns (equations, unknowns), for one scene."""
    rows = np.array(problem.edges if edges is None else edges, dtype=np.int64).reshape(-1, 3)
    entries, m, z = split(problem, unknowns)
    w = conic(problem.kind, entries)
    x = homogeneous(image)
    free, points = problem.free, problem.points
    out = np.zeros((len(rows), problem.unknowns), dtype=np.complex128)
    for row, (view, p, q) in enumerate(rows):
        for v, sign in ((0, 1.0), (view, -z[view])):
            d = m[v, p] * x[v, p] - m[v, q] * x[v, q]
            at = free - 1 if v == 0 else free + points - 1 + (v - 1) * points - 1
            if p:
                out[row, at + p] += 2 * sign * (x[v, p] @ w @ d)
            if q:
                out[row, at + q] -= 2 * sign * (x[v, q] @ w @ d)
            out[row, :free] += sign * terms(problem.kind, d, d)[1:]
            if v:
                out[row, at + points] -= d @ w @ d
    return out


def random_image(problem: Problem, rng: np.random.Generator) -> Complex:
    """Generic complex image points (views, points, 2)."""
    shape = (problem.views, problem.points, 2)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def random_scene(problem: Problem, rng: np.random.Generator) -> tuple[Complex, Complex]:
    """A complex scene: image points (views, points, 2) and the unknowns that solve every equation, kept or dropped.

    Complex entries of w, points and motions; rotations by the complex Cayley transform, so that R^T R = I holds.
    """

    def draw(*shape: int) -> Complex:
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    entries = draw(len(FREE[problem.kind]))
    inverse = _root(conic(problem.kind, entries))
    world = draw(problem.points, 3) + np.array([0, 0, 3.0])
    image = np.zeros((problem.views, problem.points, 2), dtype=np.complex128)
    depths = np.zeros((problem.views, problem.points), dtype=np.complex128)
    for view in range(problem.views):
        rotation = np.eye(3) if view == 0 else _cayley(draw(3) / 2)
        moved = world @ rotation.T + (0 if view == 0 else draw(3))
        seen = np.linalg.solve(inverse, moved.T).T
        depths[view] = seen[:, 2]
        image[view] = seen[:, :2] / seen[:, 2:]
    return image, unknowns_of(problem, entries, depths)


def unknowns_of(problem: Problem, entries: Complex, depths: Complex) -> Complex:
    """Unknown vector from the free entries of w and the depths (views, points), in units in which K33 = 1."""
    m = depths / depths[:, :1]
    z = (depths[:, 0] / depths[0, 0]) ** 2
    parts = [np.asarray(entries), m[0, 1:]]
    for view in range(1, problem.views):
        parts += [m[view, 1:], z[view : view + 1]]
    return np.concatenate(parts).astype(np.complex128)


def _root(w: Complex) -> Complex:
    """Upper triangular A with A^T A = w (no conjugation): K^-1 up to scale."""
    a = np.zeros((3, 3), dtype=np.complex128)
    for i in range(3):
        for j in range(i, 3):
            rest = w[i, j] - a[:i, i] @ a[:i, j]
            a[i, j] = np.sqrt(rest) if i == j else rest / a[i, i]
    return a


def _cayley(axis: Complex) -> Complex:
    """Rotation (I - S)(I + S)^-1 of the skew matrix S of `axis`."""
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return (np.eye(3) - skew) @ np.linalg.inv(np.eye(3) + skew)
