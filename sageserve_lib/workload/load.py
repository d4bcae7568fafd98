"""Workload definitions from files: by name, with what a file is based on, and with single values changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sageserve_lib import paths
from sageserve_lib.common.yaml_files import changed, is_file, merged, read_yaml, validated
from sageserve_lib.errors import InputError
from sageserve_lib.workload.definition import Workload

DEFAULT_WORKLOAD = "week"


def workload_names() -> list[str]:
    """Names of the workloads that come with the project."""
    return sorted(file.stem for file in paths.WORKLOADS.glob("*.yaml"))


def load_workload(name_or_file: str | Path = DEFAULT_WORKLOAD, changes: str | Iterable[str] = ()) -> Workload:
    """A workload by name (``data/workloads/<name>.yaml``) or from a YAML file.

    Parameters
    ----------
    name_or_file : str or Path
        A file may say ``based_on`` (a name, or a file beside it) and then hold only what differs: mappings are
        merged entry by entry, anything else replaces, and null takes an entry out.
    changes : iterable of str, or one
        ``path=value`` each: a dotted path to something there is, and YAML. ``niw_share=0.5``, ``bursts.level=[8, 8]``,
        ``models.Llama-2-70B.tokens.output.0.median_tokens=20``, ``events.collapse=null``.

    Raises
    ------
    InputError
        If there is no such workload or path, or with everything in it that does not fit.
    """
    file = _file(str(name_or_file), paths.WORKLOADS)
    if file is None:
        raise InputError(
            f"Unknown workload {str(name_or_file)!r}: it is neither a file nor one of {', '.join(workload_names())}."
        )
    origin = str(file)
    workload = _checked(_raw(file, ()), origin)
    if changes := [changes] if isinstance(changes, str) else list(changes):
        raw = changed(workload.model_dump(mode="json"), changes, f"Workload {workload.name!r}")
        workload = _checked(_with_recorded(raw, Path()), f"{origin} with {', '.join(changes)}")
    return workload


def _file(name: str, folder: Path) -> Path | None:
    """The project's file of a name, or a file of the user's, relative to a folder."""
    for file in (paths.WORKLOADS / f"{name}.yaml", folder / name, Path(name)):
        if is_file(file):
            return file
    return None


def _raw(file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """What a file says, laid over what it is based on."""
    if file.resolve() in above:
        raise InputError(f"{file}: based_on leads back to this file; expected a chain that ends.")
    raw = read_yaml(file)
    if not isinstance(raw, dict):
        raise InputError(f"{file}: the file holds {str(raw)[:80]!r}; expected fields with values.")
    raw = _with_recorded(raw, file.parent)
    if "based_on" not in raw:
        return raw
    name = str(raw.pop("based_on"))
    base = _file(name, file.parent)
    if base is None:
        raise InputError(f"{file}: based_on: {name!r} is neither a file nor one of {', '.join(workload_names())}.")
    return merged(_raw(base, (*above, file.resolve())), raw)


def _with_recorded(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With the whole path of a recorded series, and the hash of what it holds."""
    recorded = raw.get("recorded")
    if not isinstance(recorded, dict) or not isinstance(recorded.get("file"), str):
        return raw
    file = (folder / recorded["file"]).resolve()
    if not is_file(file):
        raise InputError(f"recorded.file: {str(file)!r} is not a file; expected CSV with a recorded series.")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {**raw, "recorded": {**recorded, "file": str(file), "sha256": digest}}


def _checked(raw: dict[str, Any], origin: str) -> Workload:
    workload = validated(Workload, raw, origin)
    problems = [f"{origin}: {path} is {value!r}; expected {expected}" for path, value, expected in workload.problems()]
    if problems:
        raise InputError(problems)
    return workload
