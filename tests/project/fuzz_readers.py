"""Fuzz what reads a user's files: any bytes are read or refused, within bounds, and nothing is written elsewhere.

`make fuzz` runs it; the first byte of an input says what the rest is taken as. atheris gives the bytes, guided by the
branches that they reach, and stops at the first traceback, hang or excess of memory, with the input kept.

Usage: python tests/project/fuzz_readers.py [libFuzzer's options]
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["sageserve_lib.traces", "sageserve_lib.common.yaml_files"]):
    from sageserve_lib import catalogue, paths
    from sageserve_lib.errors import InputError
    from sageserve_lib.studies.sweep import load_grid
    from sageserve_lib.traces import Reading, open_trace
    from sageserve_lib.workload import load_workload

MAP = Reading(columns="arrival_ms=ts,prompt_tokens=in,output_tokens=out")
#: One input of at most 20 kB takes no more than this.
_MOST_KIB = 1 << 20
#: Arrow keeps 72 kB of every broken gzip stream (26.0.1), so all inputs together are given more.
_MOST_OF_ALL_MIB = 12 << 10
SEEDS = ("BAD_TRACES", "GOOD_TRACES", "BAD_YAML")


def _trace(file: Path, reading: Reading | None = None) -> None:
    trace = open_trace(file, reading)
    assert trace.requests == len(trace.frame()) > 0


KINDS: tuple[Callable[[Path], object], ...] = (
    _trace,
    lambda file: _trace(file, MAP),
    catalogue.load_scenario,
    load_workload,
    load_grid,
)


def write_seeds(folder: Path) -> None:
    """The corpus of the tests as a first corpus here."""
    import test_bad_input as cases

    for table in SEEDS:
        for name, content in getattr(cases, table).items():
            content = content[0] if isinstance(content, tuple) else content
            content = content() if callable(content) else content
            content = content.encode() if isinstance(content, str) else content
            if len(content) < 20_000:
                kind = 2 if table == "BAD_YAML" else 0
                (folder / f"{table}-{name.replace('/', '-')}").write_bytes(bytes([kind]) + content)


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for folder in ("empty", "generated", "seeds", "input"):
            (place / folder).mkdir()
        os.environ[paths.CACHE_VARIABLE] = str(place / "generated")
        write_seeds(place / "seeds")
        os.chdir(place / "empty")
        file = place / "input" / "file"

        def one(data: bytes) -> None:
            if not data:
                return
            file.write_bytes(data[1:])
            most_kib = getrusage(RUSAGE_SELF).ru_maxrss
            try:
                KINDS[data[0] % len(KINDS)](file)
            except InputError:
                pass
            finally:
                for left in paths.generated().iterdir():
                    left.unlink()
            assert getrusage(RUSAGE_SELF).ru_maxrss - most_kib < _MOST_KIB
            assert os.listdir(place / "empty") == []
            assert os.listdir(place / "input") == ["file"]
            assert sorted(os.listdir(place)) == ["empty", "generated", "input", "seeds"]

        options = ["-max_len=20000", "-timeout=60", f"-rss_limit_mb={_MOST_OF_ALL_MIB}"]
        atheris.Setup([*sys.argv, *options, str(place / "seeds")], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
