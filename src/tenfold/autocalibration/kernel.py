# mypy: allow-untyped-defs
"""The tracker's inner loop: many paths of one system side by side, a path a lane.

Every table's rows hold one value of `LANES` paths, real and imaginary parts apart, so that compilers make vector instructions of the
loops over a row. A lane never looks at another one: what a path does depends neither on its neighbours nor on threads. The Newton
step is machine code of its own (see `machine`): one compilation of this loop serves every problem.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Paths side by side in a table's row: one vector of 512 bits; where registers are shorter compilers take two or four.
LANES = 8
# Why a path ended: 0 found; lost: 1 its step became too small, 2 it did not converge at the end, 3 too many solves, 4 lost for one of these
# reasons near the end and far out, 5 it ended where another did, 6 at what is no scene.
FOUND, STEP, END, SOLVES, FAR, TWICE, ASTRAY = range(7)
_IDLE, _START, _STEP, _LAST = -1, 0, 1, 2
# A path is near its end from this time on.
NEAR = 0.9

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "boundscheck": False}


@intrinsic
def call(typing_context, address, x_re, x_im, c_re, c_im, t, y_re, y_im):
    """Call the machine code at `address` with the addresses of its tables."""

    def made(context, builder, signature, arguments):
        table = ir.DoubleType().as_pointer()
        function = ir.FunctionType(ir.VoidType(), [table] * 7).as_pointer()
        code, *tables = arguments
        builder.call(builder.inttoptr(code, function), [builder.inttoptr(each, table) for each in tables])
        return context.get_dummy_value()

    return types.void(*([types.intp] * 8)), made


@njit(**OPTIONS)
def table(rows):
    """Zeros (rows, LANES) at an address that vectors like."""
    raw = np.zeros(rows * LANES + 8)
    first = (-(raw.ctypes.data // 8)) % 8
    return raw[first : first + rows * LANES].reshape(rows, LANES)


@njit(**OPTIONS)
def take_up(i, job, starts, terms, moving, x_re, x_im, c_re, c_im):
    """Put the start and the coefficients of a job (see `track_some`) into lane i."""
    paths, n = starts.shape
    target = job // paths
    path = job - target * paths
    for a in range(n):
        x_re[a, i] = starts[path, a].real
        x_im[a, i] = starts[path, a].imag
    for j in range(moving.shape[0]):
        for power in range(3):
            c_re[3 * j + power, i] = terms[target, moving[j], power].real
            c_im[3 * j + power, i] = terms[target, moving[j], power].imag


@njit(**OPTIONS)
def measure(n, x_re, x_im, y_re, y_im, error, total):
    """Of each lane's step y at x: square of the largest relative change of an unknown, and a sum that is large or no number if one is."""
    for i in range(LANES):
        error[i] = 0.0
        total[i] = 0.0
    for a in range(n):
        for i in range(LANES):
            size = y_re[a, i] * y_re[a, i] + y_im[a, i] * y_im[a, i]
            size = size / max(1.0, x_re[a, i] * x_re[a, i] + x_im[a, i] * x_im[a, i])
            error[i] = max(error[i], size)
            # a maximum may pass over what is no number, a sum may not
            total[i] += size


@njit(**OPTIONS)
def _advance(x, y, n, u, v, old_u, old_v, take, correct, predict, w):
    """Real or imaginary parts: take x - step as the new point, or correct x by the step, or predict from points and tangents."""
    for a in range(n):
        for i in range(LANES):
            z = x[a, i] - y[a, i]
            taken = take[i] > 0.0
            old_u[a, i] = u[a, i] if taken else old_u[a, i]
            old_v[a, i] = v[a, i] if taken else old_v[a, i]
            u[a, i] = z if taken else u[a, i]
            v[a, i] = -y[n + a, i] if taken else v[a, i]
        for i in range(LANES):
            z = x[a, i] - y[a, i] if correct[i] > 0.0 else x[a, i]
            ahead = w[0, i] * old_u[a, i] + w[1, i] * old_v[a, i] + w[2, i] * u[a, i] + w[3, i] * v[a, i]
            x[a, i] = ahead if predict[i] > 0.0 else z


@njit(**OPTIONS)
def track_some(
    low, high, jobs, starts, terms, n, moving, newton, accept, again, aim, smallest, most, begin, ready, far, ends, status, solves
):
    """The jobs that stand at low..high of `jobs`; job = target * paths + path. `terms` (targets, terms, 3): coefficients of 1, t, t^2."""
    count = moving.shape[0]
    x_re, x_im = table(n), table(n)
    y_re, y_im = table(2 * n), table(2 * n)
    c_re, c_im = table(3 * count), table(3 * count)
    # u, v: the last accepted point and its tangent; those before
    u_re, u_im, v_re, v_im = table(n), table(n), table(n), table(n)
    old_u_re, old_u_im, old_v_re, old_v_im = table(n), table(n), table(n), table(n)
    w = table(4)
    trials = table(1)
    trial = trials[0]
    t = np.zeros(LANES)
    step = np.zeros(LANES)
    before = np.zeros(LANES)
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
                t[i] = 0.0
                trial[i] = 0.0
                step[i] = begin
                before[i] = 0.0
                mode[i] = _START
                tries[i] = 0
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
                largest = 0.0
                for a in range(n):
                    end = complex(x_re[a, i] - y_re[a, i], x_im[a, i] - y_im[a, i])
                    ends[job[i], a] = end
                    largest = max(largest, abs(end))
                if done != FOUND and t[i] > NEAR and largest > far:
                    done = FAR
                status[job[i]] = done
                solves[job[i]] = used[i]
                mode[i] = _IDLE
                alive -= 1
            elif predict[i] > 0.0:
                ahead = trial[i] - t[i]
                if before[i] > 0.0:
                    # the cubic through both points with both tangents, at x = 1 + ahead / before
                    x = 1.0 + ahead / before[i]
                    w[0, i] = (1.0 + 2.0 * x) * (1.0 - x) * (1.0 - x)
                    w[1, i] = x * (1.0 - x) * (1.0 - x) * before[i]
                    w[2, i] = x * x * (3.0 - 2.0 * x)
                    w[3, i] = x * x * (x - 1.0) * before[i]
                else:
                    w[0, i] = 0.0
                    w[1, i] = 0.0
                    w[2, i] = 1.0
                    w[3, i] = ahead
        _advance(x_re, y_re, n, u_re, v_re, old_u_re, old_v_re, take, correct, predict, w)
        _advance(x_im, y_im, n, u_im, v_im, old_u_im, old_v_im, take, correct, predict, w)
