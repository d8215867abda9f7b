"""The work of an attack per image: arithmetic over the attack's parameters, declared in its recipe."""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator

from robustbench_aigen.documents.document import PartError, Section, show
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.stages.parameters import Value

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"min": min, "max": max, "sqrt": math.sqrt}
_KNOWN = "numbers, parameters, + - * / **, min, max and sqrt"


def _arithmetic(value: object) -> str:
    """Return a formula as text.

    Raises
    ------
    ValueError
        If the formula is not arithmetic.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be arithmetic such as 'steps * restarts', not {show(value)}")  # noqa: TRY004
    text = str(value).strip()
    try:
        tree = ast.parse(text, mode="eval").body
        _check(tree)
    except (SyntaxError, RecursionError, MemoryError):
        raise PartError(f"'{text}' is not arithmetic", (), f"write {_KNOWN}") from None
    return text


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        _check(node.left)
        _check(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check(node.operand)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        takes_one = node.func.id == "sqrt"
        if node.keywords or (len(node.args) != 1 if takes_one else len(node.args) < 2):
            raise SyntaxError
        for argument in node.args:
            _check(argument)
    elif not isinstance(node, ast.Name) and not (
        isinstance(node, ast.Constant) and type(node.value) in (int, float)
    ):
        raise SyntaxError


def _names(text: str) -> Iterator[str]:
    """Yield the parameters that a formula reads."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Name) and node.id not in _FUNCTIONS:
            yield node.id


def _value(node: ast.expr, params: Mapping[str, Value]) -> float:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, params), _value(node.right, params))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, params)
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return _FUNCTIONS[node.func.id](*(_value(argument, params) for argument in node.args))
    if isinstance(node, ast.Name):
        return float(params[node.id] or 0)
    assert isinstance(node, ast.Constant)
    return float(node.value)  # type: ignore[arg-type]  # _check admits only numbers.


class Work(NamedTuple):
    """Upper bound on the work of an attack per image: forward and backward passes, and forward passes alone."""

    gradients: int
    queries: int


class Cost(Section):
    """The work of an attack per image, as arithmetic over the parameters of the recipe.

    Parameters
    ----------
    gradients
        Forward and backward passes.
    queries
        Forward passes without a backward pass.
    """

    gradients: Annotated[str, BeforeValidator(_arithmetic)] = "0"
    queries: Annotated[str, BeforeValidator(_arithmetic)] = "0"

    def check(self, numbers: Iterable[str]) -> None:
        """Check that every name is a parameter with a number.

        Raises
        ------
        PartError
            Otherwise.
        """
        known = {*numbers}
        for key, text in (("gradients", self.gradients), ("queries", self.queries)):
            for name in _names(text):
                if name not in known:
                    raise PartError(
                        f"'{name}' is not a number of this recipe", (key,), did_you_mean(name, known)
                    )

    def work(self, params: Mapping[str, Value], draws: int = 1) -> Work:
        """Return the work of an attack per image, rounded.

        Parameters
        ----------
        params
            The values of all parameters.
        draws
            Number of random draws that each gradient or query is averaged over.

        Raises
        ------
        UserError
            If the arithmetic has no finite result of at least 0 for these values.
        """
        amounts = []
        for text in (self.gradients, self.queries):
            try:
                amount = _value(ast.parse(text, mode="eval").body, params) * draws
            except (ArithmeticError, ValueError):
                amount = math.nan
            if not 0 <= amount < math.inf:
                raise UserError(f"the cost '{text}' is not a number of at least 0 for these parameters")
            amounts.append(math.floor(amount + 0.5))
        return Work(*amounts)
