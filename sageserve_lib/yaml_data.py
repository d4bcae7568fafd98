"""Data kept as YAML beside the code: read, checked against a model, and refused in sentences."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sageserve_lib.errors import InputError

M = TypeVar("M", bound=BaseModel)


class Data(BaseModel):
    """What the YAML files hold: never changed, and no field that the model does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load(kind: type[M], file: Path) -> M:
    """The file's content as a ``kind``.

    Raises
    ------
    InputError
        If it cannot be read, is not YAML, or does not fit; with every problem by its place in the file.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {error}") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError(
            [
                f"{file}: {'.'.join(str(part) for part in problem['loc']) or 'the file'}: "
                f"{problem['msg']} (value {str(problem['input'])[:80]!r})"
                for problem in error.errors()
            ]
        ) from error
