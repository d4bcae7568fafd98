"""The public traces the project knows of: where they are, under which licence, and how to tell that they are the ones."""

from functools import cache
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, RootModel

from sageserve_lib import paths
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.yaml_files import Data, load
from sageserve_lib.errors import InputError

#: Names of traces and of files: nothing that could leave a folder, or hide in one.
_PLAIN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class Source(Data):
    """One public trace."""

    title: str
    urls: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S*$")], ...]  #: tried in this order
    file: Annotated[str, Field(pattern=_PLAIN)] | None
    format: Literal["azure", "burstgpt", "mooncake", "servegen", "sageserve"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    size_bytes: PositiveInt | None
    licence: str
    licence_url: str
    citation: str
    known_from: str
    notes: tuple[str, ...] = ()
    instructions: str | None = None  #: where there is no file to download


#: By name.
Sources = RootModel[dict[Annotated[str, Field(pattern=_PLAIN)], Source]]


@cache
def load_sources() -> dict[str, Source]:
    """The public traces by name."""
    return load(Sources, paths.SOURCES).root


def source_of(name: str) -> Source:
    """The public trace of that name.

    Raises
    ------
    InputError
        If there is none; with the names there are, and the nearest.
    """
    sources = load_sources()
    if name in sources:
        return sources[name]
    raise InputError(f"Unknown trace {name!r}; there are {', '.join(sources)}.{did_you_mean(name, sources)}")
