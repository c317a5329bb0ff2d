"""Expressions over the fields of a market, in the notation of Qlib: ``$change > 0.05``, ``0.6*$volume``."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqrec.errors import InvalidInputError

from ._market import Market

__all__ = ["evaluate"]

Values = npt.NDArray[Any]

_FIELD = re.compile(r"\$([A-Za-z_]\w*)")
_PREFIX = "_field_"


def evaluate(market: Market, expression: str) -> Values:
    """Return the values of an expression for every day and instrument.

    Parameters
    ----------
    market
        Holds the fields that the expression names.
    expression
        Fields (``$close``), numbers, ``+ - * / **``, comparisons, ``& | ~``, and the functions ``Ref``, ``Delta``,
        ``Mean``, ``Sum``, ``Std``, ``Max``, ``Min`` (over the last n days, from the first one on), ``Abs``, ``Sign``, ``Log``,
        ``Not``, ``If``, ``Greater``, ``Less``, ``Power``, and the two-sided ``Add Sub Mul Div Gt Ge Lt Le Eq Ne And Or``.

    Returns
    -------
    ndarray
        Shape (days, instruments); float32 where all fields are, float64 otherwise. A comparison is 1 or 0, and 0 where a
        side is NaN.

    Raises
    ------
    InvalidInputError
        The text cannot be read, or names an unknown function or field.
    """
    try:
        tree = ast.parse(_FIELD.sub(rf"{_PREFIX}\1", expression.strip()), mode="eval")
    except SyntaxError as error:
        raise InvalidInputError(f"the expression {expression!r} cannot be read: {error.msg}") from error
    evaluator = _Evaluator(market, expression)
    with np.errstate(all="ignore"):
        values = np.asarray(evaluator.visit(tree.body))
    shape = (len(market.days), len(market.instruments))
    return np.broadcast_to(values, shape).astype(evaluator.dtype)


class _Evaluator:
    def __init__(self, market: Market, expression: str) -> None:
        self._market = market
        self._expression = expression
        self.dtype = np.dtype(np.float32)

    def visit(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return value
            case ast.Name(id=name) if name.startswith(_PREFIX):
                values = self._market.field("$" + name.removeprefix(_PREFIX))
                self.dtype = np.promote_types(self.dtype, values.dtype)
                return values
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return _UNARY[type(op)](self.visit(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _BINARY[type(op)](self.visit(left), self.visit(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return _COMPARE[type(op)](self.visit(left), self.visit(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                function, count = _FUNCTIONS[name]
                if len(arguments) == count:
                    return function(*map(self.visit, arguments))
                raise InvalidInputError(
                    f"{name} takes {count} arguments, in the expression {self._expression!r}"
                )
            case _:
                part = _readable(node)
                raise InvalidInputError(
                    f"{part!r} in the expression {self._expression!r} is not understood; it may have fields such as "
                    f"$close, numbers, arithmetic, one comparison at a time and {', '.join(sorted(_FUNCTIONS))}"
                )


def _readable(node: ast.expr) -> str:
    return ast.unparse(node).replace(_PREFIX, "$")


def _ref(values: Values, days: int) -> Values:
    shifted = np.full(np.shape(values), np.nan, dtype=np.result_type(values, np.float32))
    if days == 0:
        shifted[:] = values
    elif days > 0:
        shifted[days:] = values[:-days]
    else:
        shifted[:days] = values[-days:]
    return shifted


def _rolling(method: str) -> Callable[[Values, int], Values]:
    def over(values: Values, days: int) -> Values:
        frame = pd.DataFrame(np.asarray(values, dtype=np.float64))
        window = frame.rolling(days, min_periods=1) if days else frame.expanding(min_periods=1)
        result: Values = getattr(window, method)().to_numpy()
        return result

    return over


def _truth(function: Callable[[Values, Values], Values]) -> Callable[[Any, Any], Values]:
    return lambda left, right: function(np.asarray(left, dtype=bool), np.asarray(right, dtype=bool))


def _not(value: Any) -> Values:
    return ~np.asarray(value, dtype=bool)


_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: _not,
    ast.Not: _not,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.BitAnd: _truth(np.logical_and),
    ast.BitOr: _truth(np.logical_or),
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "Abs": (np.abs, 1),
    "Add": (operator.add, 2),
    "And": (_truth(np.logical_and), 2),
    "Delta": (lambda values, days: values - _ref(values, days), 2),
    "Div": (operator.truediv, 2),
    "Eq": (operator.eq, 2),
    "Ge": (operator.ge, 2),
    "Greater": (np.maximum, 2),
    "Gt": (operator.gt, 2),
    "If": (np.where, 3),
    "Le": (operator.le, 2),
    "Less": (np.minimum, 2),
    "Log": (np.log, 1),
    "Lt": (operator.lt, 2),
    "Max": (_rolling("max"), 2),
    "Mean": (_rolling("mean"), 2),
    "Min": (_rolling("min"), 2),
    "Mul": (operator.mul, 2),
    "Ne": (operator.ne, 2),
    "Not": (_not, 1),
    "Or": (_truth(np.logical_or), 2),
    "Power": (operator.pow, 2),
    "Ref": (_ref, 2),
    "Sign": (np.sign, 1),
    "Std": (_rolling("std"), 2),
    "Sub": (operator.sub, 2),
    "Sum": (_rolling("sum"), 2),
}
