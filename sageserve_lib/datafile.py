"""Reading the project's YAML files: what is wrong is told by file, field and value."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
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


def changed(raw: dict[str, Any], changes: Iterable[str], what: str) -> dict[str, Any]:
    """``raw`` with single values changed.

    Parameters
    ----------
    raw : dict
        Changed in place.
    changes : iterable of str
        ``path=value`` each: a dotted path to something there is, and YAML; null takes an entry out.
    what : str
        Whose values they are, for messages.

    Raises
    ------
    InputError
        With every change that cannot be made.
    """
    if problems := list(_changed(raw, changes, what)):
        raise InputError(problems)
    return raw


def _changed(raw: dict[str, Any], changes: Iterable[str], what: str) -> Iterator[str]:
    for change in changes:
        path, equals, text = (part.strip() for part in change.partition("="))
        if not (path and equals):
            yield f"{what}, change {change!r}: expected path=value, as in niw_share=0.5"
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            yield f"{what}, change {change!r}: {text!r} is not YAML; expected a value, as in bursts.level=[8, 8]"
            continue
        found = _find(raw, path)
        if found is None:
            near = difflib.get_close_matches(path, _paths(raw), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "what is new belongs in a file with based_on"
            yield f"{what}, change {change!r}: it has no {path!r}; {hint}"
            continue
        holder, key = found
        if value is None and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = value


def _find(raw: Any, path: str) -> tuple[Any, Any] | None:
    """The mapping or list that holds a dotted path's end, and its key there; names may have dots in them."""
    for key, value in _entries(raw):
        if path == str(key):
            return raw, key
        if path.startswith(f"{key}.") and (found := _find(value, path.removeprefix(f"{key}."))):
            return found
    return None


def _paths(raw: Any) -> Iterator[str]:
    for key, value in _entries(raw):
        yield str(key)
        yield from (f"{key}.{below}" for below in _paths(value))


def _entries(raw: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(raw, Mapping):
        return raw.items()
    return enumerate(raw) if isinstance(raw, list) else ()
