"""The public traces the project knows of: where they are, under which licence, and how to tell that they are the ones."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, RootModel, model_validator

from sageserve_lib import paths
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.yaml_files import Data, load
from sageserve_lib.errors import InputError

#: Names of traces and of files: nothing that could leave a folder, or hide in one.
_PLAIN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class Source(Data):
    """One public trace."""

    title: str
    urls: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S*$")], ...] = Field(
        description="tried in this order"
    )
    file: Annotated[str, Field(pattern=_PLAIN)] | None
    format: Literal["azure", "burstgpt", "mooncake", "servegen", "sageserve"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    size_bytes: PositiveInt | None
    licence: str
    licence_url: str
    citation: str
    known_from: str
    notes: tuple[str, ...] = ()
    instructions: str | None = Field(default=None, description="where there is no file to download")

    @model_validator(mode="after")
    def _can_be_got(self) -> "Source":
        if bool(self.urls) != bool(self.file) or bool(self.urls) == bool(self.instructions):
            msg = "expected urls and a file, or else instructions"
            raise ValueError(msg)
        return self


class Sources(RootModel[dict[Annotated[str, Field(pattern=_PLAIN)], Source]]):
    """The public traces by name."""

    @model_validator(mode="after")
    def _files_differ(self) -> "Sources":
        files = [source.file for source in self.root.values() if source.file]
        if len(set(files)) < len(files):
            msg = "two traces have the same file name"
            raise ValueError(msg)
        return self


@cache
def load_sources(file: Path = paths.SOURCES) -> dict[str, Source]:
    """The public traces by name.

    Raises
    ------
    InputError
        If the file does not fit its model.
    """
    return load(Sources, file).root


def source_of(name: str, sources: dict[str, Source]) -> Source:
    """The trace of that name.

    Raises
    ------
    InputError
        If there is none; with the names there are, and the nearest.
    """
    if name in sources:
        return sources[name]
    raise InputError(f"Unknown trace {name!r}; there are {', '.join(sources)}.{did_you_mean(name, sources)}")
