"""A sweep computed beside other work, at low priority, in processes that end with the one that started them.

``python -m sageserve_lib.studies.background GRID.json FOLDER`` computes the grid's cells until its standard input is
closed.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from sageserve_lib import paths
from sageserve_lib.studies.sweep import Grid, run_sweep

_LOW_PRIORITY = 10 if sys.platform != "win32" else getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 0)


@contextmanager
def sweep_in_background(grid: Grid, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Compute a grid's cells into ``folder`` while the block runs; ``wait`` for the process to have them all.

    What it could not compute, for whatever reason, is left to whoever runs the sweep next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "grid.json"
    file.write_text(grid.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "sageserve_lib.studies.background", str(file), str(folder)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=paths.ROOT,
        start_new_session=True,  # Ctrl-C is for the process in front, which closes the pipe
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def _end_with_parent() -> None:
    """Wait until the other end of standard input is gone, then end this process and all it has started."""
    os.read(sys.stdin.fileno(), 1)  # not through a buffer, whose lock the interpreter wants when it ends
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


def main() -> None:
    """Compute the grid named on the command line."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(psutil.Error):
        psutil.Process().nice(_LOW_PRIORITY)
    file, folder = map(Path, sys.argv[1:])
    run_sweep(Grid.model_validate_json(file.read_text(encoding="utf-8")), folder)


if __name__ == "__main__":
    main()
