# mypy: allow-untyped-defs
"""The tracker's inner loop: many paths of one system side by side, a path a lane.

Every table's rows hold one value of `LANES` paths, real and imaginary parts apart, so that compilers make vector instructions of the
loops over a row. A lane never looks at another one: what a path does depends neither on its neighbours nor on threads. The Newton
step is a straight-line program (see `program`) that this loop carries out row by row: one compilation serves every problem.
"""

import math
from typing import Any

import numpy as np
from numba import njit

LANES = 64
# Why a path ended: 0 found; lost: 1 its step became too small, 2 it did not converge at the end, 3 too many solves.
FOUND, STEP, END, SOLVES = 0, 1, 2, 3
_IDLE, _START, _STEP, _LAST = -1, 0, 1, 2
# Operations of a program: d = a b; d = a b + c; d = c - a b; d = a + b; d = a - b; d = 1 / a; d = -2 a; d = 2 a; d = -a
MUL, MULADD, MULSUB, ADD, SUB, INVERT, MINUS_TWICE, TWICE, NEGATE = range(9)

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "boundscheck": False}


@njit(**OPTIONS)
def _run(x_re, x_im, code):
    """The program, one operation of all lanes after another."""
    for line in range(code.shape[0]):
        op = code[line, 0]
        d = code[line, 1]
        a = code[line, 2]
        b = code[line, 3]
        c = code[line, 4]
        if op == MULSUB:
            for i in range(LANES):
                re = x_re[c, i] - (x_re[a, i] * x_re[b, i] - x_im[a, i] * x_im[b, i])
                x_im[d, i] = x_im[c, i] - (x_re[a, i] * x_im[b, i] + x_im[a, i] * x_re[b, i])
                x_re[d, i] = re
        elif op == MUL:
            for i in range(LANES):
                re = x_re[a, i] * x_re[b, i] - x_im[a, i] * x_im[b, i]
                x_im[d, i] = x_re[a, i] * x_im[b, i] + x_im[a, i] * x_re[b, i]
                x_re[d, i] = re
        elif op == MULADD:
            for i in range(LANES):
                re = x_re[c, i] + (x_re[a, i] * x_re[b, i] - x_im[a, i] * x_im[b, i])
                x_im[d, i] = x_im[c, i] + (x_re[a, i] * x_im[b, i] + x_im[a, i] * x_re[b, i])
                x_re[d, i] = re
        elif op == ADD:
            for i in range(LANES):
                x_re[d, i] = x_re[a, i] + x_re[b, i]
                x_im[d, i] = x_im[a, i] + x_im[b, i]
        elif op == SUB:
            for i in range(LANES):
                x_re[d, i] = x_re[a, i] - x_re[b, i]
                x_im[d, i] = x_im[a, i] - x_im[b, i]
        elif op == INVERT:
            for i in range(LANES):
                s = 1.0 / (x_re[a, i] * x_re[a, i] + x_im[a, i] * x_im[a, i])
                x_re[d, i] = x_re[a, i] * s
                x_im[d, i] = -x_im[a, i] * s
        else:
            factor = -2.0 if op == MINUS_TWICE else (2.0 if op == TWICE else -1.0)
            for i in range(LANES):
                x_re[d, i] = factor * x_re[a, i]
                x_im[d, i] = factor * x_im[a, i]


@njit(**OPTIONS)
def _move(x_re, x_im, to, c_re, c_im, t, count):
    """Moving terms and their derivatives at time t, from their coefficients of 1, t, t^2."""
    for j in range(count):
        b = 3 * j
        o = to + 2 * j
        for i in range(LANES):
            x_re[o, i] = c_re[b, i] + t[i] * (c_re[b + 1, i] + t[i] * c_re[b + 2, i])
            x_re[o + 1, i] = c_re[b + 1, i] + 2.0 * t[i] * c_re[b + 2, i]
        for i in range(LANES):
            x_im[o, i] = c_im[b, i] + t[i] * (c_im[b + 1, i] + t[i] * c_im[b + 2, i])
            x_im[o + 1, i] = c_im[b + 1, i] + 2.0 * t[i] * c_im[b + 2, i]


@njit(**OPTIONS)
def _advance(x, u, v, old_u, old_v, out, n, take, correct, predict, w0, w1, w2, w3):
    """Real or imaginary parts: take y - step as the new point, or correct y by the step, or predict from points and tangents."""
    for a in range(n):
        newton = out[a]
        tangent = out[n + a]
        for i in range(LANES):
            y = x[a, i] - x[newton, i]
            taken = take[i] > 0.0
            old_u[a, i] = u[a, i] if taken else old_u[a, i]
            old_v[a, i] = v[a, i] if taken else old_v[a, i]
            u[a, i] = y if taken else u[a, i]
            v[a, i] = -x[tangent, i] if taken else v[a, i]
        for i in range(LANES):
            y = x[a, i] - x[newton, i] if correct[i] > 0.0 else x[a, i]
            ahead = w0[i] * old_u[a, i] + w1[i] * old_v[a, i] + w2[i] * u[a, i] + w3[i] * v[a, i]
            x[a, i] = ahead if predict[i] > 0.0 else y


@njit(**OPTIONS)
def track_some(
    low, high, jobs, starts, terms, n, moving, rows, code, out, accept, again, aim, smallest, most, begin, ready, ends, status, solves
):
    """The jobs that stand at low..high of `jobs`; job = target * paths + path. `terms` (targets, terms, 3): coefficients of 1, t, t^2."""
    paths = starts.shape[0]
    count = moving.shape[0]
    x_re = np.ones((rows, LANES))
    x_im = np.zeros((rows, LANES))
    c_re = np.ones((3 * count, LANES))
    c_im = np.zeros((3 * count, LANES))
    # u, v: the last accepted point and its tangent; those before
    u_re = np.zeros((n, LANES))
    u_im = np.zeros((n, LANES))
    v_re = np.zeros((n, LANES))
    v_im = np.zeros((n, LANES))
    old_u_re = np.zeros((n, LANES))
    old_u_im = np.zeros((n, LANES))
    old_v_re = np.zeros((n, LANES))
    old_v_im = np.zeros((n, LANES))
    t = np.zeros(LANES)
    trial = np.zeros(LANES)
    step = np.zeros(LANES)
    before = np.zeros(LANES)
    error = np.zeros(LANES)
    total = np.zeros(LANES)
    last = np.zeros(LANES)
    w0 = np.zeros(LANES)
    w1 = np.zeros(LANES)
    w2 = np.zeros(LANES)
    w3 = np.zeros(LANES)
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
                target = job[i] // paths
                path = job[i] - target * paths
                following += 1
                alive += 1
                for a in range(n):
                    x_re[a, i] = starts[path, a].real
                    x_im[a, i] = starts[path, a].imag
                for j in range(count):
                    for power in range(3):
                        c_re[3 * j + power, i] = terms[target, moving[j], power].real
                        c_im[3 * j + power, i] = terms[target, moving[j], power].imag
                t[i] = 0.0
                trial[i] = 0.0
                step[i] = begin
                before[i] = 0.0
                mode[i] = _START
                tries[i] = 0
                used[i] = 0
        if alive == 0:
            break
        _move(x_re, x_im, n + 1, c_re, c_im, trial, count)
        _run(x_re, x_im, code)
        for i in range(LANES):
            error[i] = 0.0
            total[i] = 0.0
        for a in range(n):
            o = out[a]
            for i in range(LANES):
                size = x_re[o, i] * x_re[o, i] + x_im[o, i] * x_im[o, i]
                size = size / max(1.0, x_re[a, i] * x_re[a, i] + x_im[a, i] * x_im[a, i])
                error[i] = max(error[i], size)
                # a maximum may pass over what is no number, a sum may not
                total[i] += size
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
            if mode[i] == _START:
                take[i] = 1.0
                mode[i] = _STEP
                trial[i] = min(1.0, step[i])
                predict[i] = 1.0
            elif mode[i] == _STEP:
                if wrong < accept:
                    take[i] = 1.0
                    before[i] = trial[i] - t[i]
                    t[i] = trial[i]
                    if tries[i] == 0:
                        step[i] = before[i] * min(max(math.sqrt(math.sqrt(aim / max(wrong, 1e-15))), 0.4), 2.5)
                    else:
                        step[i] = before[i] * 0.7
                    tries[i] = 0
                    if t[i] >= 1.0:
                        mode[i] = _LAST
                        last[i] = 1e150
                        correct[i] = 1.0
                    else:
                        trial[i] = t[i] + step[i]
                        if trial[i] > 1.0 - 0.3 * step[i]:
                            trial[i] = 1.0
                        predict[i] = 1.0
                elif wrong < again and tries[i] == 0:
                    tries[i] = 1
                    correct[i] = 1.0
                else:
                    tries[i] = 0
                    step[i] = (trial[i] - t[i]) * min(0.5, max(math.sqrt(math.sqrt(aim / wrong)), 0.1))
                    trial[i] = t[i] + step[i]
                    predict[i] = 1.0
                    if step[i] < smallest:
                        done = STEP
            else:
                correct[i] = 1.0
                tries[i] += 1
                if wrong < 1e-14 or (wrong < ready and wrong > 0.3 * last[i]):
                    done = FOUND
                elif tries[i] > 10:
                    done = END
                last[i] = wrong
            if done < 0 and used[i] >= most:
                done = SOLVES
            if done >= 0:
                for a in range(n):
                    o = out[a]
                    ends[job[i], a] = complex(x_re[a, i] - x_re[o, i], x_im[a, i] - x_im[o, i])
                status[job[i]] = done
                solves[job[i]] = used[i]
                mode[i] = _IDLE
                alive -= 1
            elif predict[i] > 0.0:
                ahead = trial[i] - t[i]
                if before[i] > 0.0:
                    # the cubic through both points with both tangents, at x = 1 + ahead / before
                    x = 1.0 + ahead / before[i]
                    w0[i] = (1.0 + 2.0 * x) * (1.0 - x) * (1.0 - x)
                    w1[i] = x * (1.0 - x) * (1.0 - x) * before[i]
                    w2[i] = x * x * (3.0 - 2.0 * x)
                    w3[i] = x * x * (x - 1.0) * before[i]
                else:
                    w0[i] = 0.0
                    w1[i] = 0.0
                    w2[i] = 1.0
                    w3[i] = ahead
        _advance(x_re, u_re, v_re, old_u_re, old_v_re, out, n, take, correct, predict, w0, w1, w2, w3)
        _advance(x_im, u_im, v_im, old_u_im, old_v_im, out, n, take, correct, predict, w0, w1, w2, w3)
