"""What is kept was computed with this code: another code or version gives it another name."""

from pathlib import Path

import pandas as pd
import pytest

from sageserve_lib import paths
from sageserve_lib.allocation import capacity, theta_tps, with_gpu_price
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.common import sources
from sageserve_lib.common.sources import code_of, digest
from sageserve_lib.simulation import cache
from sageserve_lib.studies.sweep import grid
from sageserve_lib.traces import open_trace
from sageserve_lib.workload import WorkloadSpec


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Change a file of the library, as far as keys see it."""

    def change(place: str) -> None:
        # Links to all of it, and one file of its own.
        copy = tmp_path / f"library-{len(list(tmp_path.glob('library-*')))}"
        for file in paths.CODE.rglob("*.py"):
            target = copy / file.relative_to(paths.CODE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
        (copy / place).unlink()
        (copy / place).write_bytes((paths.CODE / place).read_bytes() + b"\n# changed\n")
        monkeypatch.setattr(paths, "CODE", copy)
        forget()

    def forget() -> None:
        code_of.cache_clear()
        grid._code.cache_clear()

    yield change
    monkeypatch.undo()
    forget()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Have another version of a package, as far as keys see it."""

    def install(package: str) -> None:
        real = sources.version
        monkeypatch.setattr(sources, "version", lambda name: "99" if name == package else real(name))
        code_of.cache_clear()
        grid._code.cache_clear()

    yield install
    monkeypatch.undo()
    code_of.cache_clear()
    grid._code.cache_clear()


def imported(folder: Path) -> set[str]:
    log = folder / "log.csv"
    log.write_text("arrival_s,region,model,tier,prompt_tokens,output_tokens\n0,eastus,m,IW-F,10,10\n", encoding="utf-8")
    open_trace(log)
    return {file.name for file in paths.generated().glob("trace-*.parquet")}


def test_a_digest_tells_files_and_versions_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"ab")
    two.write_bytes(b"c")
    before = digest([one, two])
    assert digest([two, one]) != before
    assert digest([one, two], ["numpy"]) != before
    assert digest([one, two], ["no-such-package"]) == before
    one.write_bytes(b"a")
    two.write_bytes(b"bc")
    assert digest([one, two]) != before


@pytest.mark.usefixtures("generated")
def test_an_imported_trace_depends_on_the_readers_and_on_duckdb(tmp_path: Path, changed, installed) -> None:
    assert len(imported(tmp_path)) == len(imported(tmp_path)) == 1
    changed("figures/style.py")
    assert len(imported(tmp_path)) == 1
    changed("traces/formats/opentelemetry.py")
    assert len(imported(tmp_path)) == 2
    installed("duckdb")
    assert len(imported(tmp_path)) == 3


def test_a_generated_trace_depends_on_the_generator(changed) -> None:
    before = WorkloadSpec().key
    changed("simulation/engine.py")
    assert WorkloadSpec().key == before
    changed("workload/rates.py")
    assert WorkloadSpec().key != before


def test_compiled_code_depends_on_the_simulator_and_the_compiler(changed, installed) -> None:
    before = cache.folder()
    changed("simulation/state.py")
    after = cache.folder()
    assert after != before
    installed("llvmlite")
    assert cache.folder() not in {before, after}


def test_compiled_code_is_kept_apart_in_numbas_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = cache.folder().name
    monkeypatch.setattr(cache.config, "CACHE_DIR", str(tmp_path))
    assert cache.folder() == tmp_path / usual


@pytest.mark.parametrize("file", ["simulation/engine.py", "catalogue/times.py", "policies/base.py"])
def test_theta_depends_on_engine_times_and_policies(generated: Path, changed, monkeypatch, file: str) -> None:
    probed = capacity.Probed(2.0, 1.0, 3.0, "x")
    monkeypatch.setattr(capacity, "probe_theta_tps", lambda *args: probed)
    sample = pd.DataFrame({"model": "Llama-2-70B", "prompt_tokens": [100] * 5, "output_tokens": [10] * 5})

    def kept() -> int:
        theta_tps(sample, ("Llama-2-70B",), load_scenario("paper"), seed=1)
        return len(list(generated.glob("theta-*.json")))

    assert kept() == kept() == 1
    changed("figures/style.py")
    assert kept() == 1
    changed(file)
    assert kept() == 2


def test_theta_depends_on_times_and_promises_and_not_on_prices(
    generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = capacity.Probed(2.0, 1.0, 3.0, "x")
    monkeypatch.setattr(capacity, "probe_theta_tps", lambda *args: probed)
    sample = pd.DataFrame({"model": "Llama-2-70B", "prompt_tokens": [100] * 5, "output_tokens": [10] * 5})
    paper = load_scenario("paper")
    slower = [
        times.model_copy(update={"decode": times.decode.model_copy(update={"base_s": 2 * times.decode.base_s})})
        for times in paper.catalogue.times
    ]
    other_times = paper.model_copy(update={"catalogue": paper.catalogue.model_copy(update={"times": tuple(slower)})})
    fleets = [
        (paper, 1),
        (with_gpu_price(paper, "H100-80GB", 1.0), 1),
        (other_times, 2),
        (load_scenario("paper", ["sla.IW-F.ttft_s=2"]), 3),
        (load_scenario("paper", ["scaling.min_instances=3"]), 3),
    ]
    for fleet, kept in fleets:
        theta_tps(sample, ("Llama-2-70B",), fleet, seed=1)
        assert len(list(generated.glob("theta-*.json"))) == kept


def test_a_cell_of_a_sweep_depends_on_engine_results_and_packages(changed, installed) -> None:
    seen = {grid._code()}
    changed("costs/savings.py")
    assert {grid._code()} == seen
    for file in ("simulation/engine.py", "studies/sweep/run.py"):
        changed(file)
        seen.add(grid._code())
    for package in ("numpy", "highspy"):
        installed(package)
        seen.add(grid._code())
    assert len(seen) == 5
