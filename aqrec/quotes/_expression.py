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

__all__ = ["evaluate", "fields_of"]

Values = npt.NDArray[Any]

_FIELD = re.compile(r"\$([A-Za-z_]\w*)")
_PREFIX = "_field_"
_LONGEST = 10_000
_DEEPEST = 50
_SHOWN = 60


def evaluate(market: Market, expression: str) -> Values:
    """Return the values of an expression for every day and instrument.

    Parameters
    ----------
    market
        Holds the fields that the expression names.
    expression
        Fields (``$close``), numbers, ``+ - * / **``, comparisons, ``& | ~``, and the functions ``Ref``, ``Delta``,
        ``Mean``, ``Sum``, ``Std``, ``Max``, ``Min`` (over the last n days, from the first one on), ``Abs``, ``Sign``, ``Log``,
        ``Not``, ``If``, ``Greater``, ``Less``, ``Power``, and the two-sided ``Add Sub Mul Div Gt Ge Lt Le Eq Ne And Or``. At most
        10,000 characters, 50 levels deep.

    Returns
    -------
    ndarray
        Shape (days, instruments); float32 where all fields are, float64 otherwise. A comparison is 1 or 0, and 0 where a
        side is NaN.

    Raises
    ------
    InvalidInputError
        The text cannot be read, is too long or too deep, or names an unknown function or field; or a number of days is
        not a whole number, or a number is too large.
    """
    tree = _parsed(expression)
    evaluator = _Evaluator(market, expression)
    with np.errstate(all="ignore"):
        values = np.asarray(evaluator.visit(tree))
    return np.broadcast_to(values, evaluator.shape).astype(evaluator.dtype)


def fields_of(expression: str) -> set[str]:
    """Return the fields that an expression names, with their ``$``."""
    return {
        _readable(node)
        for node in ast.walk(_parsed(expression))
        if isinstance(node, ast.Name) and node.id.startswith(_PREFIX)
    }


def _parsed(expression: str) -> ast.expr:
    if len(expression) > _LONGEST:
        raise InvalidInputError(
            f"the expression {expression[:_SHOWN]!r}… has {len(expression):,} characters; {_LONGEST:,} are allowed"
        )
    try:
        tree = ast.parse(_FIELD.sub(rf"{_PREFIX}\1", expression.strip()), mode="eval").body
    except (SyntaxError, ValueError) as error:
        told = error.msg if isinstance(error, SyntaxError) else error
        raise InvalidInputError(f"the expression {expression!r} cannot be read: {told}") from error
    except (
        MemoryError,
        RecursionError,
    ) as error:  # which of them, and with which words, differs between Pythons
        raise _too_deep(expression) from error
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [below for node in level for below in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise _too_deep(expression)


def _too_deep(expression: str) -> InvalidInputError:
    shown = repr(expression) if len(expression) <= _SHOWN else f"{expression[:_SHOWN]!r}…"
    return InvalidInputError(
        f"the expression {shown} is more than {_DEEPEST} levels deep; write it with fewer brackets"
    )


class _Evaluator:
    def __init__(self, market: Market, expression: str) -> None:
        self._market = market
        self._expression = expression
        self.dtype = np.dtype(np.float32)
        self.shape = (len(market.days), len(market.instruments))

    def visit(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return self._number(node, lambda: float(value))
            case ast.Name(id=name) if name.startswith(_PREFIX):
                values = self._market.field("$" + name.removeprefix(_PREFIX))
                self.dtype = np.promote_types(self.dtype, values.dtype)
                return values
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return _UNARY[type(op)](self.visit(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                combine, sides = _BINARY[type(op)], (self.visit(left), self.visit(right))
                return self._number(node, lambda: combine(*sides))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return _COMPARE[type(op)](self.visit(left), self.visit(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                function, count = _FUNCTIONS[name]
                if len(arguments) != count:
                    raise self._refused(node, f"{name} takes {count} arguments")
                if name in _OVER_DAYS:
                    days = self._days(name, arguments[1])
                    return function(np.broadcast_to(self.visit(arguments[0]), self.shape), days)
                return self._number(node, lambda: function(*map(self.visit, arguments)))
            case _:
                raise self._refused(
                    node,
                    "it may have fields such as $close, numbers, arithmetic, one comparison at a time and "
                    + ", ".join(sorted(_FUNCTIONS)),
                )

    def _days(self, name: str, node: ast.expr) -> int:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        number = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        least = _OVER_DAYS[name]
        if isinstance(number, ast.Constant) and type(number.value) is int:
            days = -number.value if negative else number.value
            if abs(days) < 1 << 31 and (days >= least if least is not None else days):
                return days
        words = "other than 0" if least is None else f"from {least} on"
        raise self._refused(node, f"{name} takes a whole number of days {words}")

    def _number(self, node: ast.expr, compute: Callable[[], Any]) -> Any:
        try:
            value = compute()
        except (ArithmeticError, ValueError) as error:
            raise self._refused(node, f"it has no value: {error}") from error
        if isinstance(value, complex):
            raise self._refused(node, "it is no real number")
        return value

    def _refused(self, node: ast.expr, why: str) -> InvalidInputError:
        return InvalidInputError(
            f"{_readable(node)!r} in the expression {self._expression!r} is not understood: {why}"
        )


def _readable(node: ast.expr) -> str:
    return ast.unparse(node).replace(_PREFIX, "$")


def _ref(values: Values, days: int) -> Values:
    shifted = np.full(np.shape(values), np.nan, dtype=np.result_type(values, np.float32))
    if days > 0:
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


def _flags(values: Any) -> Values:
    """Return 1 and 0, which add up, as flags of numpy do not."""
    return np.asarray(values).astype(np.float32)


def _truth(function: Callable[[Values, Values], Values]) -> Callable[[Any, Any], Values]:
    return lambda left, right: _flags(function(np.asarray(left, dtype=bool), np.asarray(right, dtype=bool)))


def _compared(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Values]:
    return lambda left, right: _flags(function(left, right))


def _not(value: Any) -> Values:
    return _flags(~np.asarray(value, dtype=bool))


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
    ast.Gt: _compared(operator.gt),
    ast.GtE: _compared(operator.ge),
    ast.Lt: _compared(operator.lt),
    ast.LtE: _compared(operator.le),
    ast.Eq: _compared(operator.eq),
    ast.NotEq: _compared(operator.ne),
}
_OVER_DAYS: dict[str, int | None] = {
    **dict.fromkeys(("Delta", "Ref")),
    **dict.fromkeys(("Max", "Mean", "Min", "Std", "Sum"), 0),
}
"""Functions whose second argument is a number of days, and the least; None: any but 0, where Qlib means the first day read"""

_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "Abs": (np.abs, 1),
    "Add": (operator.add, 2),
    "And": (_truth(np.logical_and), 2),
    "Delta": (lambda values, days: values - _ref(values, days), 2),
    "Div": (operator.truediv, 2),
    "Eq": (_compared(operator.eq), 2),
    "Ge": (_compared(operator.ge), 2),
    "Greater": (np.maximum, 2),
    "Gt": (_compared(operator.gt), 2),
    "If": (np.where, 3),
    "Le": (_compared(operator.le), 2),
    "Less": (np.minimum, 2),
    "Log": (np.log, 1),
    "Lt": (_compared(operator.lt), 2),
    "Max": (_rolling("max"), 2),
    "Mean": (_rolling("mean"), 2),
    "Min": (_rolling("min"), 2),
    "Mul": (operator.mul, 2),
    "Ne": (_compared(operator.ne), 2),
    "Not": (_not, 1),
    "Or": (_truth(np.logical_or), 2),
    "Power": (operator.pow, 2),
    "Ref": (_ref, 2),
    "Sign": (np.sign, 1),
    "Std": (_rolling("std"), 2),
    "Sub": (operator.sub, 2),
    "Sum": (_rolling("sum"), 2),
}
