"""Reading the project's YAML files: what is wrong is told by file, field and value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sageserve_lib.errors import InputError


class Data(BaseModel):
    """Base of what is read from a file: values do not change, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=BaseModel)


def read_yaml(file: Path) -> Any:
    """What a YAML file holds.

    Raises
    ------
    InputError
        If it cannot be read or is not YAML.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {error}") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def validated(kind: type[M], raw: Any, origin: str) -> M:
    """``raw`` as a model; ``origin`` says in messages where it comes from.

    Raises
    ------
    InputError
        With every field that does not fit: its place, what was expected, and its value.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError(
            [
                f"{origin}: {'.'.join(str(part) for part in problem['loc']) or 'the file'}: "
                f"{problem['msg']} (value {str(problem['input'])[:80]!r})"
                for problem in error.errors()
            ]
        ) from error


def load(kind: type[M], file: Path) -> M:
    """A YAML file as a model.

    Raises
    ------
    InputError
        If it cannot be read, or does not fit.
    """
    return validated(kind, read_yaml(file), str(file))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it: mappings entry by entry, anything else as a whole; null takes out.

    >>> merged({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"x": None, "z": 3}, "b": [4]})
    {'a': {'y': 2, 'z': 3}, 'b': [4]}
    """
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result
