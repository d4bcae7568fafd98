"""Reading the project's YAML files: what is wrong is told by file, field and value."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError


class Data(BaseModel):
    """Base of what is read from a file: values do not change, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)

#: No file of the project's kinds has a tenth of this; reading more could take minutes.
_LARGEST_BYTES = 300_000
#: Values in a file, each alias counted as often as it is used.
_MOST_VALUES = 50_000
_MOST_PROBLEMS = 20


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses what is there twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def parse_yaml(text: str) -> Any:
    """The plain values that YAML text holds.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML, names other types, repeats a key, refers to itself, or stands for very many values.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError:
        raise
    except Exception as error:  # values that do not fit their tag, and depth, raise errors of many kinds
        raise yaml.YAMLError(f"it cannot be understood ({type(error).__name__})") from error
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Values below a node, aliases followed."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.MarkedYAMLError(problem="it refers to itself", problem_mark=node.start_mark)
        return size
    known[id(node)] = None
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    size = 1 + sum(_size(part, known) for part in parts) if isinstance(node, yaml.CollectionNode) else 1
    if size > _MOST_VALUES:
        problem = f"it stands for more than {_MOST_VALUES:,} values"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    known[id(node)] = size
    return size


def read_yaml(file: Path) -> Any:
    """What a YAML file holds.

    Raises
    ------
    InputError
        If it cannot be read or is not YAML.
    """
    try:
        return parse_yaml(text_of(file))
    except yaml.YAMLError as error:
        raise InputError(f"{file} is not YAML: {told(error)}") from error


def text_of(file: Path) -> str:
    """The text of a file that should be YAML.

    Raises
    ------
    InputError
        If it cannot be read, or is much larger than such files are.
    """
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise InputError(f"{file} has {file.stat().st_size:,} bytes; expected YAML of at most {_LARGEST_BYTES:,}")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not YAML: it is not UTF-8 text (byte {error.start + 1:,})") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def told(error: yaml.YAMLError) -> str:
    """What is wrong, in one line."""
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1:,}, column {mark.column + 1:,})" if mark else ""
    return " ".join((getattr(error, "problem", None) or str(error)).split())[:300] + where


def is_file(path: Path) -> bool:
    """Whether there is a file; not where the path is none that a file could have."""
    try:
        return path.is_file()
    except OSError:  # too long, say
        return False


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
        found = error.errors()
        problems = [
            f"{origin}: {'.'.join(str(part)[:80] for part in problem['loc']) or 'the file'}: "
            f"{problem['msg']} (value {str(problem['input'])[:80]!r})"
            for problem in found[:_MOST_PROBLEMS]
        ]
        if len(found) > _MOST_PROBLEMS:
            problems.append(f"... and {len(found) - _MOST_PROBLEMS:,} more")
        raise InputError(problems) from error


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
            value = parse_yaml(text)
        except yaml.YAMLError:
            yield f"{what}, change {change!r}: {text!r} is not YAML; expected a value, as in bursts.level=[8, 8]"
            continue
        found = _find(raw, path)
        if found is None:
            hint = did_you_mean(path, _paths(raw)) or " What is new belongs in a file with based_on."
            yield f"{what}, change {change!r}: it has no {path!r}.{hint}"
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
