"""A program (see `program`) as machine code of this processor: vectors of paths in registers, made in a fraction of a second by LLVM.

The loop of `kernel` calls it by its address. All numbers of a problem's Newton step stay in registers and on the stack, which is what makes
it two and a half times as fast as one operation of all lanes after another.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from tenfold.autocalibration.kernel import LANES
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.program import ADD, INVERT, MINUS_TWICE, MUL, MULADD, MULSUB, NEGATE, SUB, TWICE, Program, compiled

_DOUBLE, _INT = ir.DoubleType(), ir.IntType(64)
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_CONTRACT = ("contract",)


@dataclass(frozen=True)
class Newton:
    """`address` of `void newton(x_re, x_im, c_re, c_im, t, y_re, y_im)`, tables of LANES columns: unknowns, coefficients of the moving terms

    by 1, t, t^2 (three rows a term), times; out come J^-1 F and J^-1 dF/dt. `engine` owns the code: it lives as long as this.
    """

    address: int
    engine: Any


@lru_cache(maxsize=64)
def newton(problem: Problem) -> Newton:
    """Machine code of a problem's Newton step."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(_source(compiled(problem)))
    module.verify()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=1)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return Newton(engine.get_function_address("newton"), engine)


def _source(program: Program) -> str:
    """LLVM's assembly of the program."""
    module = ir.Module("program")
    table = _DOUBLE.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [table] * 7), "newton")
    for argument in function.args:
        argument.add_attribute("noalias")
    x_re, x_im, c_re, c_im, times, y_re, y_im = function.args
    b = ir.IRBuilder(function.append_basic_block())

    def place(table: Any, row: int) -> Any:
        return b.bitcast(b.gep(table, [_INT(row * LANES)]), _VECTOR.as_pointer())

    def load(table: Any, row: int) -> Any:
        value = b.load(place(table, row))
        value.align = 8
        return value

    def constant(value: float) -> Any:
        return ir.Constant(_VECTOR, [value] * LANES)

    def mul(x: Any, y: Any) -> Any:
        return b.fmul(x, y, _CONTRACT)

    def add(x: Any, y: Any) -> Any:
        return b.fadd(x, y, _CONTRACT)

    def sub(x: Any, y: Any) -> Any:
        return b.fsub(x, y, _CONTRACT)

    t = load(times, 0)
    n = program.unknowns
    values: dict[int, tuple[Any, Any]] = {n: (constant(1.0), constant(0.0))}

    def value(number: int) -> tuple[Any, Any]:
        # loaded where it is first wanted: registers are few
        if number not in values and number < n:
            values[number] = load(x_re, number), load(x_im, number)
        elif number not in values:
            term = (number - n - 1) // 2
            at = n + 1 + 2 * term
            now, change = [], []
            for table in (c_re, c_im):
                c0, c1, c2 = (load(table, 3 * term + power) for power in range(3))
                now.append(add(c0, mul(t, add(c1, mul(t, c2)))))
                change.append(add(c1, mul(mul(constant(2.0), t), c2)))
            values[at], values[at + 1] = (now[0], now[1]), (change[0], change[1])
        return values[number]

    for op, made, *operands in program.code:
        (a_re, a_im), *others = (value(each) for each in operands)
        if op in (MUL, MULADD, MULSUB):
            b_re, b_im = others[0]
            if op == MUL:
                values[made] = sub(mul(a_re, b_re), mul(a_im, b_im)), add(mul(a_re, b_im), mul(a_im, b_re))
                continue
            d_re, d_im = others[1]
            if op == MULADD:
                values[made] = sub(add(d_re, mul(a_re, b_re)), mul(a_im, b_im)), add(add(d_im, mul(a_re, b_im)), mul(a_im, b_re))
            else:
                values[made] = add(sub(d_re, mul(a_re, b_re)), mul(a_im, b_im)), sub(sub(d_im, mul(a_re, b_im)), mul(a_im, b_re))
        elif op in (ADD, SUB):
            sum_of = add if op == ADD else sub
            values[made] = sum_of(a_re, others[0][0]), sum_of(a_im, others[0][1])
        elif op == INVERT:
            size = b.fdiv(constant(1.0), add(mul(a_re, a_re), mul(a_im, a_im)))
            values[made] = mul(a_re, size), b.fneg(mul(a_im, size))
        else:
            factor = constant({MINUS_TWICE: -2.0, TWICE: 2.0, NEGATE: -1.0}[op])
            values[made] = mul(a_re, factor), mul(a_im, factor)
    for row, number in enumerate(program.out):
        for table, part in zip((y_re, y_im), value(number), strict=True):
            b.store(part, place(table, row)).align = 8
    b.ret_void()
    return str(module)
