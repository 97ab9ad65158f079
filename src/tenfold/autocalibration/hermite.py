# mypy: allow-untyped-defs
"""A loop like that of `kernel`, for paths that run near singular sets: a predictor of higher order, and steps checked by how Newton contracts.

Where the Jacobian's condition is 1e8 and more, Newton converges from so near only that a cubic predictor must take tiny steps, though
the path itself is smooth. Here the polynomial of degree 5 through the last three points and tangents predicts, and two Newton steps
follow: the first measures the predictor, the second how fast Newton contracts. All points and tangents are taken at corrected points,
since the predictor multiplies their errors.
"""

import math

import numpy as np
from numba import njit

from tenfold.autocalibration.kernel import END, FOUND, LANES, OPTIONS, SOLVES, STEP, call, measure, table, take_up

# Points with tangents that predict the next one: with more of them rounding errors of ill-conditioned points grow too much.
POINTS = 3
_IDLE, _START, _FIRST, _SECOND, _LAST = -1, 0, 1, 2, 3


@njit(**OPTIONS)
def _advance(x, y, n, u, v, take, correct, predict, w):
    """Real or imaginary parts, as in `kernel`; row j * n + a of `u` and `v` holds unknown a of the j-th last point and of its tangent."""
    for a in range(n):
        for j in range(POINTS - 1, 0, -1):
            for i in range(LANES):
                u[j * n + a, i] = u[(j - 1) * n + a, i] if take[i] > 0.0 else u[j * n + a, i]
                v[j * n + a, i] = v[(j - 1) * n + a, i] if take[i] > 0.0 else v[j * n + a, i]
        for i in range(LANES):
            z = x[a, i] - y[a, i]
            u[a, i] = z if take[i] > 0.0 else u[a, i]
            v[a, i] = -y[n + a, i] if take[i] > 0.0 else v[a, i]
            x[a, i] = z if correct[i] > 0.0 else x[a, i]
        for i in range(LANES):
            ahead = 0.0
            for j in range(POINTS):
                ahead += w[j, i] * u[j * n + a, i] + w[POINTS + j, i] * v[j * n + a, i]
            x[a, i] = ahead if predict[i] > 0.0 else x[a, i]


@njit(**OPTIONS)
def track_some(
    low, high, jobs, starts, terms, n, moving, newton, accept, shrink, floor, aim, aimed_shrink, smallest, most, begin, ready, ends, status,
    solves, times,
):  # fmt: skip
    """The jobs that stand at low..high of `jobs`, as in `kernel.track_some`; `times`: where on the way each path's last point lies."""
    count = moving.shape[0]
    x_re, x_im = table(n), table(n)
    y_re, y_im = table(2 * n), table(2 * n)
    c_re, c_im = table(3 * count), table(3 * count)
    u_re, u_im, v_re, v_im = table(POINTS * n), table(POINTS * n), table(POINTS * n), table(POINTS * n)
    w = table(2 * POINTS)
    # times of the last points, and how many there are
    at = table(POINTS)
    known = np.zeros(LANES, dtype=np.int64)
    trials = table(1)
    trial = trials[0]
    step = np.zeros(LANES)
    error = np.zeros(LANES)
    total = np.zeros(LANES)
    last = np.zeros(LANES)
    take = np.zeros(LANES)
    correct = np.zeros(LANES)
    predict = np.zeros(LANES)
    mode = np.full(LANES, _IDLE, dtype=np.int64)
    job = np.zeros(LANES, dtype=np.int64)
    tries = np.zeros(LANES, dtype=np.int64)
    used = np.zeros(LANES, dtype=np.int64)
    following = low
    alive = 0
    while True:
        for i in range(LANES):
            if mode[i] == _IDLE and following < high:
                job[i] = jobs[following]
                following += 1
                alive += 1
                take_up(i, job[i], starts, terms, moving, x_re, x_im, c_re, c_im)
                at[0, i] = 0.0
                trial[i] = 0.0
                step[i] = begin
                mode[i] = _START
                known[i] = 0
                used[i] = 0
        if alive == 0:
            break
        call(
            newton, x_re.ctypes.data, x_im.ctypes.data, c_re.ctypes.data, c_im.ctypes.data, trials.ctypes.data, y_re.ctypes.data,
            y_im.ctypes.data,
        )  # fmt: skip
        measure(n, x_re, x_im, y_re, y_im, error, total)
        for i in range(LANES):
            take[i] = 0.0
            correct[i] = 0.0
            predict[i] = 0.0
            if mode[i] == _IDLE:
                continue
            used[i] += 1
            wrong = math.sqrt(error[i])
            if not total[i] < 1e300:
                wrong = 1e150
            done = -1
            refused = 0.0
            # the predictor's error grows with this power of the step
            order = 2.0 * max(1, known[i])
            if mode[i] == _START:
                correct[i] = 1.0
                last[i] = wrong
                mode[i] = _SECOND
            elif mode[i] == _FIRST:
                if wrong < accept:
                    correct[i] = 1.0
                    last[i] = wrong
                    mode[i] = _SECOND
                else:
                    refused = (aim / wrong) ** (1.0 / order)
            elif mode[i] == _SECOND:
                shrinks = wrong / max(last[i], 1e-300)
                if known[i] == 0 or shrinks < shrink or wrong < floor:
                    take[i] = 1.0
                    if known[i] > 0:
                        grow = (aim / max(last[i], 1e-16)) ** (1.0 / order)
                        # below the floor the ratio is one of rounding errors
                        if wrong >= floor:
                            grow = min(grow, (aimed_shrink / max(shrinks, 1e-6)) ** (1.0 / order))
                        step[i] = (trial[i] - at[0, i]) * min(max(grow, 0.5), 2.0)
                    for j in range(POINTS - 1, 0, -1):
                        at[j, i] = at[j - 1, i]
                    at[0, i] = trial[i]
                    known[i] = min(POINTS, known[i] + 1)
                    if trial[i] >= 1.0:
                        correct[i] = 1.0
                        last[i] = 1e150
                        tries[i] = 0
                        mode[i] = _LAST
                    else:
                        predict[i] = 1.0
                        mode[i] = _FIRST
                else:
                    refused = (aimed_shrink / shrinks) ** (1.0 / order)
                    mode[i] = _FIRST
            else:
                correct[i] = 1.0
                tries[i] += 1
                if wrong < 1e-14 or (wrong < ready and wrong > 0.3 * last[i]):
                    done = FOUND
                elif tries[i] > 10:
                    done = END
                last[i] = wrong
            if refused > 0.0:
                step[i] = (trial[i] - at[0, i]) * min(max(refused, 0.1), 0.5)
                predict[i] = 1.0
                if step[i] < smallest:
                    done = STEP
            if done < 0 and used[i] >= most:
                done = SOLVES
            if done >= 0:
                for a in range(n):
                    ends[job[i], a] = complex(x_re[a, i] - y_re[a, i], x_im[a, i] - y_im[a, i])
                status[job[i]] = done
                solves[job[i]] = used[i]
                times[job[i]] = at[0, i]
                mode[i] = _IDLE
                alive -= 1
            elif predict[i] > 0.0:
                trial[i] = at[0, i] + step[i]
                if trial[i] > 1.0 - 0.3 * step[i]:
                    trial[i] = 1.0
                ahead = trial[i] - at[0, i]
                for j in range(POINTS):
                    w[j, i] = 0.0
                    w[POINTS + j, i] = 0.0
                for j in range(known[i]):
                    # Hermite's polynomials, times counted in steps from the last point: the next one is at 1
                    here = (at[j, i] - at[0, i]) / ahead
                    square, slope = 1.0, 0.0
                    for k in range(known[i]):
                        if k != j:
                            there = (at[k, i] - at[0, i]) / ahead
                            square *= (1.0 - there) / (here - there)
                            slope += 1.0 / (here - there)
                    square *= square
                    w[j, i] = (1.0 - 2.0 * (1.0 - here) * slope) * square
                    w[POINTS + j, i] = (1.0 - here) * square * ahead
        _advance(x_re, y_re, n, u_re, v_re, take, correct, predict, w)
        _advance(x_im, y_im, n, u_im, v_im, take, correct, predict, w)
