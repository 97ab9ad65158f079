"""The tracker in torch: all paths of all targets at once, for a GPU (`tracker.track(..., device="cuda")`).

The same steps as `kernel`: cubic predictor, one or two Newton corrections, the same control, in complex128; only the linear systems are solved
by LU with pivots here. Ends agree within rounding, not bit for bit. Paths that have ended are taken out every few steps. It pays where very
many paths are tracked together; `tracker` on the processor remains the reference.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.kernel import END, FAR, FOUND, NEAR, SOLVES, STEP
from tenfold.autocalibration.problems import FREE, Problem

if TYPE_CHECKING:
    from tenfold.autocalibration.tracker import Options

Complex = npt.NDArray[np.complex128]
Int = npt.NDArray[np.int64]
# Solves after which ended paths are taken out.
_COMPACT = 10
_STEPPING, _LAST = 0, 1


def track_some(
    problem: Problem, base: Complex, starts: Complex, targets: Complex, jobs: Int, options: "Options", device: str
) -> tuple[Complex, npt.NDArray[np.int8], Int]:
    """Ends (jobs, unknowns), why each ended, linear solves of the jobs (job = target * paths + path)."""
    import torch

    target, path = np.divmod(jobs, len(starts))
    n, count = problem.unknowns, len(jobs)
    ends = np.zeros((count, n), dtype=np.complex128)
    status, solves = np.zeros(count, dtype=np.int8), np.zeros(count, dtype=np.int64)
    if not count:
        return ends, status, solves
    at = torch.device(device.removeprefix("torch:"))
    base_t = torch.as_tensor(np.asarray(base, dtype=np.complex128), device=at)
    goals = torch.as_tensor(np.asarray(targets, dtype=np.complex128), device=at)
    tensor: Any = torch.as_tensor
    s: dict[str, Any] = {"job": tensor(np.arange(count), device=at), "target": tensor(target, device=at)}
    s["x"] = tensor(starts[path], device=at).clone()
    newton, tangent = _solved(problem, s["x"], base_t, goals[s["target"]], torch.zeros(count, dtype=torch.float64, device=at))
    zero = torch.zeros(count, dtype=torch.float64, device=at)
    s |= {"u": s["x"] - newton, "v": tangent, "old_u": torch.zeros_like(s["x"]), "old_v": torch.zeros_like(s["x"])}
    s |= {"t": zero.clone(), "trial": zero + min(1.0, options.begin), "step": zero + options.begin, "before": zero.clone()}
    s |= {"last": zero + 1e150, "mode": torch.zeros_like(s["job"]), "tries": torch.zeros_like(s["job"]), "used": torch.ones_like(s["job"])}
    s["why"] = torch.full_like(s["job"], -1)
    s["x"] = _predicted(torch, s)
    turns = 0
    while len(s["job"]):
        _turn(torch, problem, s, base_t, goals, options)
        turns += 1
        if turns % _COMPACT == 0 or bool((s["why"] >= 0).all()):
            over = s["why"] >= 0
            at_cpu = s["job"][over].cpu().numpy()
            ends[at_cpu], status[at_cpu], solves[at_cpu] = (s[name][over].cpu().numpy() for name in ("x", "why", "used"))
            s = {name: value[~over] for name, value in s.items()}
    return ends, status, solves


def _turn(torch: Any, problem: Problem, s: dict[str, Any], base: Any, goals: Any, options: "Options") -> None:
    """One linear solve of every path, and what follows from it (see `kernel.track_some`)."""
    live = s["why"] < 0
    newton, tangent = _solved(problem, s["x"], base, goals[s["target"]], s["trial"])
    wrong = (newton.abs() / s["x"].abs().clamp(min=1.0)).amax(dim=1)
    wrong = torch.where(torch.isfinite(newton.abs().sum(dim=1)), wrong, 1e150)
    corrected = s["x"] - newton
    s["used"] += live
    stepping, ending = live & (s["mode"] == _STEPPING), live & (s["mode"] == _LAST)
    take = stepping & (wrong < options.accept)
    correct = stepping & ~take & (wrong < options.again) & (s["tries"] == 0)
    shrink = stepping & ~take & ~correct
    made = s["trial"] - s["t"]
    for old, new, value in (("old_u", "u", corrected), ("old_v", "v", tangent)):
        s[old] = torch.where(take[:, None], s[new], s[old])
        s[new] = torch.where(take[:, None], value, s[new])
    s["before"] = torch.where(take, made, s["before"])
    s["t"] = torch.where(take, s["trial"], s["t"])
    grown = made * (options.aim / wrong.clamp(min=1e-15)).sqrt().sqrt().clamp(0.4, 2.5)
    s["step"] = torch.where(take, torch.where(s["tries"] == 0, grown, made * 0.7), s["step"])
    s["step"] = torch.where(shrink, made * (options.aim / wrong).sqrt().sqrt().clamp(0.1, 0.5), s["step"])
    arrived = take & (s["t"] >= 1.0)
    following = s["t"] + s["step"]
    following = torch.where(take & (following > 1.0 - 0.3 * s["step"]), 1.0, following)
    predict = (take & ~arrived) | shrink
    s["trial"] = torch.where(predict, following, s["trial"])
    lost = torch.where(shrink & (s["step"] < options.smallest), STEP, -1)
    s["tries"] = torch.where(take | shrink, 0, torch.where(correct, 1, s["tries"] + ending.to(s["tries"].dtype)))
    good = ending & ((wrong < 1e-14) | ((wrong < options.ready) & (wrong > 0.3 * s["last"])))
    lost = torch.where(good, FOUND, torch.where(ending & (s["tries"] > 10), END, lost))
    s["last"] = torch.where(ending, wrong, torch.where(arrived, 1e150, s["last"]))
    s["mode"] = torch.where(arrived, _LAST, s["mode"])
    lost = torch.where((lost < 0) & live & (s["used"] >= options.most), SOLVES, lost)
    over = live & (lost >= 0)
    far = (s["t"] > NEAR) & ~(corrected.abs().amax(dim=1) <= options.far) & (lost != FOUND)
    s["why"] = torch.where(over, torch.where(far, FAR, lost), s["why"])
    moved = torch.where(
        (predict & ~over)[:, None], _predicted(torch, s), torch.where((correct | ending | arrived)[:, None], corrected, s["x"])
    )
    s["x"] = torch.where(over[:, None], corrected, torch.where(live[:, None], moved, s["x"]))


def _predicted(torch: Any, s: dict[str, Any]) -> Any:
    """The cubic through both last points with both tangents; the tangent alone where there is one point only."""
    ahead, before = s["trial"] - s["t"], s["before"]
    one = before <= 0
    h = torch.where(one, 1.0, before)
    x = 1.0 + ahead / h
    w0, w1 = (1.0 + 2.0 * x) * (1.0 - x) ** 2, x * (1.0 - x) ** 2 * h
    w2, w3 = x * x * (3.0 - 2.0 * x), x * x * (x - 1.0) * h
    cubic = w0[:, None] * s["old_u"] + w1[:, None] * s["old_v"] + w2[:, None] * s["u"] + w3[:, None] * s["v"]
    return torch.where(one[:, None], s["u"] + ahead[:, None] * s["v"], cubic)


def _solved(problem: Problem, u: Any, base: Any, goal: Any, t: Any) -> tuple[Any, Any]:
    """J^-1 F and the tangent -J^-1 dF/dt (paths, unknowns) at time t."""
    import torch

    free, points, paths = problem.free, problem.points, len(u)
    view, p, q = (torch.as_tensor(column, device=u.device) for column in problem.rows.T)
    m, z = torch.ones((paths, problem.views, points), dtype=u.dtype, device=u.device), [torch.ones_like(u[:, 0])]
    column = torch.full((problem.views, points), problem.unknowns, device=u.device)
    for i in range(problem.views):
        first = free if i == 0 else free + points - 1 + (i - 1) * points
        column[i, 1:] = torch.arange(first, first + points - 1, device=u.device)
        m[:, i, 1:] = u[:, first : first + points - 1]
        if i:
            z.append(u[:, first + points - 1])
    squares = torch.stack(z, dim=1)
    w = torch.zeros((paths, 3, 3), dtype=u.dtype, device=u.device)
    w[:, range(3), range(3)] = 1.0
    for index, (row, other) in enumerate(FREE[problem.kind]):
        w[:, row, other] = w[:, other, row] = u[:, index]
    speed = goal - base
    image = base + t[:, None, None, None] * speed
    x = torch.cat([image, torch.ones_like(image[..., :1])], dim=-1)
    dx = torch.cat([speed, torch.zeros_like(speed[..., :1])], dim=-1)
    rows = torch.arange(len(view), device=u.device)
    J = torch.zeros((paths, len(view), problem.unknowns + 1), dtype=u.dtype, device=u.device)
    F, slope = torch.zeros_like(J[..., 0]), torch.zeros_like(J[..., 0])
    for seen, sign in ((torch.zeros_like(view), torch.ones_like(F)), (view, -squares[:, view])):
        mp, mq = m[:, seen, p, None], m[:, seen, q, None]
        xp, xq = x[:, seen, p], x[:, seen, q]
        d = mp * xp - mq * xq
        wd = torch.einsum("bij,bej->bei", w, d)
        square = (d * wd).sum(-1)
        F = F + sign * square
        slope = slope + 2 * sign * ((mp * dx[:, seen, p] - mq * dx[:, seen, q]) * wd).sum(-1)
        J[:, rows, column[seen, p]] += 2 * sign * (xp * wd).sum(-1)
        J[:, rows, column[seen, q]] -= 2 * sign * (xq * wd).sum(-1)
        for index, (row, other) in enumerate(FREE[problem.kind]):
            J[:, :, index] += sign * d[..., row] * d[..., other] * (1.0 if row == other else 2.0)
    J[:, rows, column[view, 1] + points - 1] -= square
    # an exactly singular or broken system gives numbers that are not finite, not an error: the path is lost then
    step, info = torch.linalg.solve_ex(J[..., :-1], torch.stack([F, slope], dim=-1))
    step = torch.where((info == 0)[:, None, None], step, torch.nan)
    return step[..., 0], -step[..., 1]
