"""A short bounded run of the fuzz target; `make fuzz` runs it for longer."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("fuzz_readers.py")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (extra `fuzz`)")
def test_fuzzing_finds_no_traceback_hang_or_stray_file(tmp_path: Path) -> None:
    command = [sys.executable, str(TARGET), "-max_total_time=60", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    # Coverage would follow what atheris follows, and see nothing of it.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs and int(runs[1]) > 100
