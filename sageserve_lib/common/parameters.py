"""Parameters of notebooks as values of the types that the notebooks declare, whoever sets them and however."""

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from IPython.core.getipython import get_ipython

from sageserve_lib.common.status import prepare_notebook
from sageserve_lib.common.yaml_files import parse_yaml
from sageserve_lib.errors import InputError


def declarations(source: str) -> list[ast.AnnAssign]:
    """What a notebook's cell of parameters declares; empty where a cell holds anything else.

    The cell is read as Python: papermill's own reader overlooks a line whose comment holds ``=``.
    """
    try:
        lines = ast.parse(source).body
    except SyntaxError:  # a magic command
        return []
    found = [line for line in lines if isinstance(line, ast.AnnAssign)]
    return found if len(found) == len(lines) else []


def read_parameters() -> None:
    """Give a notebook's parameters the types that it declares: to be called below the cell that declares them.

    papermill takes ``-p run_dir 7`` for a number, and ``-p policies "['siloed','lt-u']"`` for one text. Whatever can
    only mean one thing is read; None stands for what the notebook declares.

    Raises
    ------
    InputError
        With every parameter that the notebook does not declare or that is of another type.
    """
    shell = get_ipython()
    if shell is None:
        return
    prepare_notebook()
    problems = []
    for line in _declaring(shell.user_ns.get("In", [])):
        name, kind = ast.unparse(line.target), ast.unparse(line.annotation)
        if name not in shell.user_ns or kind not in EXPECTED:
            continue
        value = shell.user_ns[name]
        if value is None and line.value is not None:
            value = ast.literal_eval(line.value)
        try:
            shell.user_ns[name] = converted(value, kind)
        except ValueError:
            problems.append(f"parameter {name!r} is {value!r}; expected {EXPECTED[kind]}{_hint(value, kind)}")
    if problems:
        raise InputError(problems)


def _declaring(cells: Sequence[str]) -> list[ast.AnnAssign]:
    """The declarations that ran last."""
    return next(filter(None, map(declarations, reversed(cells))), [])


def _hint(value: Any, kind: str) -> str:
    """What to do about a text that papermill has read as a number: which zeros of ``1.10`` were there, nobody knows any more."""
    number = kind == "str" and isinstance(value, float | bool)
    return "; papermill takes it for one with -r in place of -p" if number else ""


def converted(value: Any, kind: str) -> Any:
    """``value`` as the declared type ``kind``, a key of ``EXPECTED``.

    >>> converted("['siloed', 'lt-u']", "list"), converted("siloed,lt-u", "list"), converted(7, "str")
    (['siloed', 'lt-u'], ['siloed', 'lt-u'], '7')

    Raises
    ------
    ValueError
        If it can mean no such value, or several.
    """
    return _READERS[kind](value)


def _whole(value: Any) -> int:
    if isinstance(value, str) or type(value) is int or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise ValueError(value)


def _finite(value: Any) -> float:
    if not isinstance(value, str) and type(value) not in {int, float}:
        raise ValueError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _text(value: Any) -> str:
    if isinstance(value, str) or type(value) is int:
        return str(value)
    raise ValueError(value)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        if "=" not in value and not value.lstrip().startswith(("[", "{", "-")):
            return [name.strip() for name in value.split(",") if name.strip()]
        value = _of_yaml(list)(value)
    if not isinstance(value, list | tuple):
        raise ValueError(value)
    return [_text(item) for item in value]


def _of_yaml(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = parse_yaml(value)
            except yaml.YAMLError as error:
                raise ValueError(value) from error
        if type(value) is not kind:
            raise ValueError(value)
        return value

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "int": _whole, "float": _finite, "str": _text, "bool": _of_yaml(bool), "list": _texts, "dict": _of_yaml(dict),
}  # fmt: skip
#: What a value has to be, by the type that a notebook declares.
EXPECTED = {
    "int": "a whole number", "float": "a finite number", "str": "a text", "bool": "true or false",
    "list": "a list, as in [a, b]", "dict": "a mapping, as in {a: 1}",
}  # fmt: skip
