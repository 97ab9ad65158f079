# mypy: allow-untyped-defs
"""Inner loops of the bundle adjustment, compiled by Numba: see `ba.py`.

Unknowns of the cameras: [free intrinsics | view 1: rotation 3, t across t_1 2 | each other view: rotation 3, t 3].
"""

import math
from typing import Any

import numpy as np
from numba import njit

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
# What a point behind a camera counts as, in loss scales: far enough that a step there is never taken for a small gain.
_BEHIND = 1e4
# A point's block gets this much of its trace: then it has an inverse though only one view sees the point.
_TINY = 1e-13


@njit(**OPTIONS)
def rho(square, kind, scale):
    """Loss of a squared distance and its first two derivatives: slope 1 at 0."""
    u = square / (scale * scale)
    if kind == 1:
        return scale * scale * math.log1p(u), 1.0 / (1.0 + u), -1.0 / ((1.0 + u) * (1.0 + u) * scale * scale)
    if kind == 2:
        w = 1.0 / (1.0 + u)
        return square * w, w * w, -2.0 * w * w * w / (scale * scale)
    return square, 1.0, 0.0


@njit(**OPTIONS)
def _predict(k, k1, R, t, X, v, p, out):
    """Projection of point p in view v into `out`: u, v, x, y on the plane z = 1, z; False behind the camera."""
    a = R[v, 0, 0] * X[p, 0] + R[v, 0, 1] * X[p, 1] + R[v, 0, 2] * X[p, 2] + t[v, 0]
    b = R[v, 1, 0] * X[p, 0] + R[v, 1, 1] * X[p, 1] + R[v, 1, 2] * X[p, 2] + t[v, 1]
    z = R[v, 2, 0] * X[p, 0] + R[v, 2, 1] * X[p, 1] + R[v, 2, 2] * X[p, 2] + t[v, 2]
    if not z > 1e-9 * (abs(a) + abs(b)):
        return False
    a /= z
    b /= z
    bent = 1.0 + k1 * (a * a + b * b)
    out[0] = (k[0] * a + k[4] * b) * bent + k[2]
    out[1] = k[1] * b * bent + k[3]
    out[2] = a
    out[3] = b
    out[4] = z
    return True


@njit(**OPTIONS)
def cost_of(k, k1, R, t, X, x, kind, scale):
    """Half the sum of the losses over all observations; inf for intrinsics that no camera has."""
    if not (k[0] > 0.0 and k[1] > 0.0):
        return np.inf
    total = 0.0
    out = np.empty(5)
    for p in range(X.shape[0]):
        for v in range(R.shape[0]):
            if math.isnan(x[v, p, 0]):
                continue
            if _predict(k, k1, R, t, X, v, p, out):
                du = out[0] - x[v, p, 0]
                dv = out[1] - x[v, p, 1]
                total += rho(du * du + dv * dv, kind, scale)[0]
            else:
                total += rho((_BEHIND * scale) ** 2, kind, scale)[0]
    return 0.5 * total


@njit(**OPTIONS)
def _tangent(t, basis):
    """Two unit vectors across t, as columns of `basis` (3, 2); zero if t is."""
    norm = math.sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2])
    basis.fill(0.0)
    if norm == 0.0:
        return
    least = 0
    for i in range(1, 3):
        if abs(t[i]) < abs(t[least]):
            least = i
    length = 0.0
    for i in range(3):
        basis[i, 0] = (1.0 if i == least else 0.0) - t[i] * t[least] / (norm * norm)
        length += basis[i, 0] * basis[i, 0]
    for i in range(3):
        basis[i, 0] /= math.sqrt(length)
    basis[0, 1] = (t[1] * basis[2, 0] - t[2] * basis[1, 0]) / norm
    basis[1, 1] = (t[2] * basis[0, 0] - t[0] * basis[2, 0]) / norm
    basis[2, 1] = (t[0] * basis[1, 0] - t[1] * basis[0, 0]) / norm


@njit(**OPTIONS)
def _by_point(k, k1, R, v, out, G, P):
    """Derivatives of one projection by the point: in the camera's frame into G (2, 3), in the world's into P (2, 3)."""
    a, b, z = out[2], out[3], out[4]
    bent = 1.0 + k1 * (a * a + b * b)
    xx = bent + 2.0 * k1 * a * a
    xy = 2.0 * k1 * a * b
    yy = bent + 2.0 * k1 * b * b
    G[0, 0] = (k[0] * xx + k[4] * xy) / z
    G[0, 1] = (k[0] * xy + k[4] * yy) / z
    G[1, 0] = k[1] * xy / z
    G[1, 1] = k[1] * yy / z
    for r in range(2):
        G[r, 2] = -(G[r, 0] * a + G[r, 1] * b)
        for i in range(3):
            P[r, i] = G[r, 0] * R[v, 0, i] + G[r, 1] * R[v, 1, i] + G[r, 2] * R[v, 2, i]


@njit(**OPTIONS)
def _by_camera(k, k1, t, v, columns, ratio, free, basis, out, G, J):
    """Derivatives of one projection by the intrinsics and the pose of v into J (2, free + 6), from those by the point in its frame."""
    a, b, z = out[2], out[3], out[4]
    square = a * a + b * b
    bent = 1.0 + k1 * square
    J.fill(0.0)
    if columns[0] >= 0:
        J[0, columns[0]] += a * bent
    if columns[1] >= 0:
        J[1, columns[1]] += b * bent * (ratio if columns[1] == columns[0] else 1.0)
    if columns[2] >= 0:
        J[0, columns[2]] = 1.0
    if columns[3] >= 0:
        J[1, columns[3]] = 1.0
    if columns[4] >= 0:
        J[0, columns[4]] = b * bent
    if columns[5] >= 0:
        J[0, columns[5]] = (k[0] * a + k[4] * b) * square
        J[1, columns[5]] = k[1] * b * square
    if v == 0:
        return
    # the turned point, X_cam - t, crosses the rotation vector
    y0 = a * z - t[v, 0]
    y1 = b * z - t[v, 1]
    y2 = z - t[v, 2]
    for r in range(2):
        J[r, free] = G[r, 2] * y1 - G[r, 1] * y2
        J[r, free + 1] = G[r, 0] * y2 - G[r, 2] * y0
        J[r, free + 2] = G[r, 1] * y0 - G[r, 0] * y1
        if v == 1:
            J[r, free + 3] = G[r, 0] * basis[0, 0] + G[r, 1] * basis[1, 0] + G[r, 2] * basis[2, 0]
            J[r, free + 4] = G[r, 0] * basis[0, 1] + G[r, 1] * basis[1, 1] + G[r, 2] * basis[2, 1]
        else:
            for i in range(3):
                J[r, free + 3 + i] = G[r, i]


@njit(**OPTIONS)
def linearise(k, k1, R, t, X, x, columns, ratio, free, basis, kind, scale, A, ga, B, gb, C, stats):
    """Normal equations: A (m, m) and ga (m) of the cameras, B (n, 3, 3) and gb (n, 3) of the points, C (n, m, 3) between them.

    `stats`: sums over observations of slope, slope^2 r^2, the loss's mean curvature, and their number.
    """
    views, points = R.shape[0], X.shape[0]
    A.fill(0.0)
    ga.fill(0.0)
    B.fill(0.0)
    gb.fill(0.0)
    C.fill(0.0)
    stats.fill(0.0)
    out = np.empty(5)
    J, G, P = np.empty((2, free + 6)), np.empty((2, 3)), np.empty((2, 3))
    for p in range(points):
        for v in range(views):
            if math.isnan(x[v, p, 0]):
                continue
            stats[3] += 1.0
            if not _predict(k, k1, R, t, X, v, p, out):
                continue
            du = out[0] - x[v, p, 0]
            dv = out[1] - x[v, p, 1]
            square = du * du + dv * dv
            _, w, bend = rho(square, kind, scale)
            stats[0] += w
            stats[1] += w * w * square
            stats[2] += w + bend * square
            _by_point(k, k1, R, v, out, G, P)
            _by_camera(k, k1, t, v, columns, ratio, free, basis, out, G, J)
            pose = 0 if v == 0 else 5 if v == 1 else 6
            # where the pose of v begins among the camera's unknowns
            shift = 0 if v < 2 else 6 * (v - 1) - 1
            for i in range(free + pose):
                at = i if i < free else i + shift
                one = w * J[0, i]
                two = w * J[1, i]
                ga[at] += one * du + two * dv
                for j in range(i + 1):
                    to = j if j < free else j + shift
                    A[at, to] += one * J[0, j] + two * J[1, j]
                for j in range(3):
                    C[p, at, j] += one * P[0, j] + two * P[1, j]
            for i in range(3):
                one = w * P[0, i]
                two = w * P[1, i]
                gb[p, i] += one * du + two * dv
                for j in range(3):
                    B[p, i, j] += one * P[0, j] + two * P[1, j]


@njit(**OPTIONS)
def _invert(B, damping, inverse):
    """Inverse of a symmetric 3x3 block with its diagonal raised; False for a block of nothing."""
    least = _TINY * (B[0, 0] + B[1, 1] + B[2, 2])
    if not least > 0.0:
        return False
    a = B[0, 0] * (1.0 + damping) + least
    d = B[1, 1] * (1.0 + damping) + least
    f = B[2, 2] * (1.0 + damping) + least
    b, c, e = B[1, 0], B[2, 0], B[2, 1]
    p = d * f - e * e
    q = c * e - b * f
    r = b * e - c * d
    det = a * p + b * q + c * r
    if not det > 0.0:
        return False
    inverse[0, 0] = p / det
    inverse[1, 1] = (a * f - c * c) / det
    inverse[2, 2] = (a * d - b * b) / det
    inverse[0, 1] = inverse[1, 0] = q / det
    inverse[0, 2] = inverse[2, 0] = r / det
    inverse[1, 2] = inverse[2, 1] = (b * c - a * e) / det
    return True


@njit(**OPTIONS)
def reduce(A, ga, B, gb, C, x, free, damping, S, gs):
    """Cameras' equations without the points, lower triangle: S = A - C B^-1 C^T and gs = ga - C B^-1 gb, damped."""
    m = A.shape[0]
    views = x.shape[0]
    for i in range(m):
        gs[i] = ga[i]
        for j in range(i + 1):
            S[i, j] = A[i, j]
        S[i, i] += damping * A[i, i]
    inverse = np.empty((3, 3))
    row = np.empty(3)
    active = np.empty(m, dtype=np.int64)
    for p in range(B.shape[0]):
        if not _invert(B[p], damping, inverse):
            continue
        count = free
        for i in range(free):
            active[i] = i
        for v in range(1, views):
            if not math.isnan(x[v, p, 0]):
                begin = free if v == 1 else free + 6 * (v - 1) - 1
                for i in range(5 if v == 1 else 6):
                    active[count] = begin + i
                    count += 1
        for u in range(count):
            i = active[u]
            for c in range(3):
                row[c] = C[p, i, 0] * inverse[0, c] + C[p, i, 1] * inverse[1, c] + C[p, i, 2] * inverse[2, c]
            gs[i] -= row[0] * gb[p, 0] + row[1] * gb[p, 1] + row[2] * gb[p, 2]
            for w in range(u + 1):
                j = active[w]
                S[i, j] -= row[0] * C[p, j, 0] + row[1] * C[p, j, 1] + row[2] * C[p, j, 2]


@njit(**OPTIONS)
def _solve(S, g, step):
    """step = -S^-1 g by Cholesky in place of S's lower triangle; unknowns without any equation stay; False if not definite."""
    m = g.shape[0]
    for j in range(m):
        first = S[j, j]
        rest = first
        for c in range(j):
            rest -= S[j, c] * S[j, c]
        if first == 0.0:
            S[j, j] = np.inf
            continue
        if not rest > 0.0:
            return False
        S[j, j] = math.sqrt(rest)
        for i in range(j + 1, m):
            rest = S[i, j]
            for c in range(j):
                rest -= S[i, c] * S[j, c]
            S[i, j] = rest / S[j, j]
    for i in range(m):
        rest = -g[i]
        for c in range(i):
            rest -= S[i, c] * step[c]
        step[i] = rest / S[i, i]
    for i in range(m - 1, -1, -1):
        rest = step[i]
        for c in range(i + 1, m):
            rest -= S[c, i] * step[c]
        step[i] = rest / S[i, i]
    return True


@njit(**OPTIONS)
def _moved(k, k1, R, t, X, columns, ratio, free, basis, step, moves, k_new, R_new, t_new, X_new):
    """State after the step of the cameras (m) and of the points (n, 3); returns the new k1."""
    for i in range(5):
        k_new[i] = k[i]
        if columns[i] >= 0:
            k_new[i] += step[columns[i]] * (ratio if i == 1 and columns[0] == columns[1] else 1.0)
    for i in range(3):
        t_new[0, i] = t[0, i]
        for j in range(3):
            R_new[0, i, j] = R[0, i, j]
    for v in range(1, R.shape[0]):
        at = free if v == 1 else free + 6 * (v - 1) - 1
        a, b, c = step[at], step[at + 1], step[at + 2]
        angle = math.sqrt(a * a + b * b + c * c)
        sine = 1.0 - angle * angle / 6.0 if angle < 1e-4 else math.sin(angle) / angle
        half = 0.5 if angle < 1e-4 else (1.0 - math.cos(angle)) / (angle * angle)
        for j in range(3):
            r0, r1, r2 = R[v, 0, j], R[v, 1, j], R[v, 2, j]
            x0, x1, x2 = b * r2 - c * r1, c * r0 - a * r2, a * r1 - b * r0
            R_new[v, 0, j] = r0 + sine * x0 + half * (b * x2 - c * x1)
            R_new[v, 1, j] = r1 + sine * x1 + half * (c * x0 - a * x2)
            R_new[v, 2, j] = r2 + sine * x2 + half * (a * x1 - b * x0)
        if v == 1:
            old = 0.0
            new = 0.0
            for i in range(3):
                t_new[v, i] = t[v, i] + basis[i, 0] * step[at + 3] + basis[i, 1] * step[at + 4]
                old += t[v, i] * t[v, i]
                new += t_new[v, i] * t_new[v, i]
            if new > 0.0:
                for i in range(3):
                    t_new[v, i] *= math.sqrt(old / new)
        else:
            for i in range(3):
                t_new[v, i] = t[v, i] + step[at + 3 + i]
    for p in range(X.shape[0]):
        for i in range(3):
            X_new[p, i] = X[p, i] + moves[p, i]
    return k1 + (step[columns[5]] if columns[5] >= 0 else 0.0)


@njit(**OPTIONS)
def _settle(k, k1, R, t, X, x, kind, scale, rounds):
    """Each point in place to the least cost with the cameras as they are: a few damped Gauss-Newton steps; returns the whole cost."""
    if not (k[0] > 0.0 and k[1] > 0.0):
        return np.inf
    views = R.shape[0]
    out = np.empty(5)
    G, P = np.empty((2, 3)), np.empty((2, 3))
    B, g, inverse = np.empty((3, 3)), np.empty(3), np.empty((3, 3))
    one = np.empty((1, 3))
    total = 0.0
    for p in range(X.shape[0]):
        damping = 1e-3
        cost = np.inf
        for turn in range(rounds + 1):
            if turn == 0:
                for i in range(3):
                    one[0, i] = X[p, i]
            else:
                if not _invert(B, damping, inverse):
                    break
                for i in range(3):
                    one[0, i] = X[p, i] - inverse[i, 0] * g[0] - inverse[i, 1] * g[1] - inverse[i, 2] * g[2]
            tried = 0.0
            for v in range(views):
                if math.isnan(x[v, p, 0]):
                    continue
                if _predict(k, k1, R, t, one, v, 0, out):
                    tried += rho((out[0] - x[v, p, 0]) ** 2 + (out[1] - x[v, p, 1]) ** 2, kind, scale)[0]
                else:
                    tried += rho((_BEHIND * scale) ** 2, kind, scale)[0]
            if tried < cost:
                gain = cost - tried
                for i in range(3):
                    X[p, i] = one[0, i]
                cost = tried
                damping *= 0.1
                if turn == rounds or gain < 1e-4 * cost:
                    break
                B.fill(0.0)
                g.fill(0.0)
                for v in range(views):
                    if math.isnan(x[v, p, 0]) or not _predict(k, k1, R, t, X, v, p, out):
                        continue
                    du = out[0] - x[v, p, 0]
                    dv = out[1] - x[v, p, 1]
                    w = rho(du * du + dv * dv, kind, scale)[1]
                    _by_point(k, k1, R, v, out, G, P)
                    for i in range(3):
                        g[i] += w * (P[0, i] * du + P[1, i] * dv)
                        for j in range(3):
                            B[i, j] += w * (P[0, i] * P[0, j] + P[1, i] * P[1, j])
            else:
                damping *= 100.0
        total += cost
    return 0.5 * total


@njit(**OPTIONS)
def minimise(k, k1, R, t, X, x, columns, free, kind, scale, iterations, rounds, tolerance, S, stats):
    """Levenberg-Marquardt; returns k, R, t, X, k1, cost, cost before, steps tried, converged.

    Leaves the reduced normal matrix of the last state in S (lower triangle) and the sums of `linearise` in `stats`.
    """
    views, points = R.shape[0], X.shape[0]
    m = S.shape[0]
    ratio = k[1] / k[0]
    A, B, C = np.empty((m, m)), np.empty((points, 3, 3)), np.empty((points, m, 3))
    ga, gb, gs = np.empty(m), np.empty((points, 3)), np.empty(m)
    step, moves = np.empty(m), np.zeros((points, 3))
    inverse = np.empty((3, 3))
    basis = np.zeros((3, 2))
    k_new, R_new, t_new, X_new = np.empty(5), np.empty((views, 3, 3)), np.empty((views, 3)), np.empty((points, 3))
    _tangent(t[1], basis)
    cost = cost_of(k, k1, R, t, X, x, kind, scale)
    before = cost
    linearise(k, k1, R, t, X, x, columns, ratio, free, basis, kind, scale, A, ga, B, gb, C, stats)
    # below this the residuals are the rounding of the image points
    nothing = 1e-24 * (k[0] * k[0] + k[1] * k[1]) * stats[3]
    damping, growth = 1e-4, 2.0
    converged = cost <= nothing
    tried = 0
    while tried < iterations and not converged:
        tried += 1
        reduce(A, ga, B, gb, C, x, free, damping, S, gs)
        good = _solve(S, gs, step)
        promise = 0.0
        if good:
            for i in range(m):
                promise -= 0.5 * step[i] * (ga[i] - damping * A[i, i] * step[i])
            for p in range(points):
                if not _invert(B[p], damping, inverse):
                    for i in range(3):
                        moves[p, i] = 0.0
                    continue
                a, b, c = gb[p, 0], gb[p, 1], gb[p, 2]
                for i in range(m):
                    a += C[p, i, 0] * step[i]
                    b += C[p, i, 1] * step[i]
                    c += C[p, i, 2] * step[i]
                for i in range(3):
                    moves[p, i] = -(inverse[i, 0] * a + inverse[i, 1] * b + inverse[i, 2] * c)
                    promise -= 0.5 * moves[p, i] * (gb[p, i] - damping * B[p, i, i] * moves[p, i])
            if promise <= tolerance * cost:
                converged = True
                break
            k1_new = _moved(k, k1, R, t, X, columns, ratio, free, basis, step, moves, k_new, R_new, t_new, X_new)
            cost_new = _settle(k_new, k1_new, R_new, t_new, X_new, x, kind, scale, rounds)
            good = cost_new < cost
        if good:
            gain = (cost - cost_new) / promise
            small = cost - cost_new <= tolerance * cost or cost_new <= nothing
            k, k_new = k_new, k
            R, R_new = R_new, R
            t, t_new = t_new, t
            X, X_new = X_new, X
            k1 = k1_new
            cost = cost_new
            damping = max(damping * max(1.0 / 10.0, 1.0 - (2.0 * gain - 1.0) ** 3), 1e-12)
            growth = 2.0
            _tangent(t[1], basis)
            linearise(k, k1, R, t, X, x, columns, ratio, free, basis, kind, scale, A, ga, B, gb, C, stats)
            converged = small and gain > 0.25
        else:
            damping *= growth
            growth *= 2.0
            # no step is small enough: the cost is as low as numbers allow
            if damping > 1e12:
                converged = True
    reduce(A, ga, B, gb, C, x, free, 0.0, S, gs)
    return k, R, t, X, k1, cost, before, tried, converged


@njit(**OPTIONS)
def errors_of(k, k1, R, t, X, x):
    """Distances of reprojection (V, n): NaN where not seen, inf behind a camera."""
    out = np.empty(5)
    found = np.full((R.shape[0], X.shape[0]), np.nan)
    for v in range(R.shape[0]):
        for p in range(X.shape[0]):
            if not math.isnan(x[v, p, 0]):
                found[v, p] = np.inf
                if _predict(k, k1, R, t, X, v, p, out):
                    found[v, p] = math.hypot(out[0] - x[v, p, 0], out[1] - x[v, p, 1])
    return found
