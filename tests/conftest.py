"""What all tests share."""

import os

# Before numpy and matplotlib are imported anywhere.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import Phase, settings

from sageserve_lib import paths

pytest_plugins = ["skips"]

settings.register_profile("sageserve", deadline=None, derandomize=True, max_examples=50)
# The first counter-example will do where only whether there is one is asked.
settings.register_profile("first", settings.get_profile("sageserve"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("sageserve")


def shared(name: str):
    """A file of the shared material; skips the test, visibly, where it is not there."""
    from skips import NOT_SHARED, SHARED  # a plugin, which pytest imports first

    file = SHARED / name
    if not file.exists():
        pytest.skip(f"{file} {NOT_SHARED}")
    return file


@pytest.fixture
def generated(tmp_path_factory, monkeypatch):
    """A folder of its own for generated data."""
    folder = tmp_path_factory.mktemp("generated")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(paths.generated()))  # nobody compiles the simulator anew
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(folder))
    return folder
