import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sageserve_lib.allocation import AllocationPlanner, AllocationProblem, planned_demand, solve, solvers, theta_tps
from sageserve_lib.allocation.solvers import choose_solver, glpk_available
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.errors import InfeasibleAllocationError, SolverNotFoundError

PAPER = load_scenario("paper")
START = pd.Timestamp("2026-06-01T00:00:00Z")
glpk = pytest.mark.skipif(not glpk_available(), reason="glpsol is not on PATH")
SOLVERS = [pytest.param("glpk", marks=glpk), "highs"]


def index(**levels: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_product(list(levels.values()), names=list(levels))


def problem(
    held: list[int],
    demand_tps: list[float],
    *,
    models: tuple[str, ...] = ("a", "b"),
    regions: tuple[str, ...] = ("east", "west"),
    gpus: tuple[str, ...] = ("H100",),
    theta_tps: list[float] = (1000.0, 400.0),
    price_usd_per_h: list[float] = (98.0,),
    startup_cost_usd: float = 10.0,
    capacity_vms: int = 20,
    floor: int = 1,
    local_share: float = 0.5,
) -> AllocationProblem:
    m, r, k = list(models), list(regions), list(gpus)
    return AllocationProblem(
        instances=pd.Series(held, index=index(model=m, region=r, gpu=k)),
        theta_tps=pd.Series(list(theta_tps), index=index(model=m, gpu=k)),
        price_usd_per_h=pd.Series(list(price_usd_per_h), index=k),
        startup_cost_usd=pd.Series(startup_cost_usd, index=index(model=m, gpu=k)),
        demand_tps=pd.Series(list(demand_tps), index=index(model=m, region=r)),
        capacity_vms=pd.Series(capacity_vms, index=index(region=r, gpu=k)),
        floor_instances=pd.Series(floor, index=index(model=m, region=r)),
        local_share=local_share,
    )


def cost(p: AllocationProblem, target: pd.Series) -> float:
    price = p.price_usd_per_h.reindex(target.index.get_level_values("gpu")).to_numpy()
    startup = p.startup_cost_usd.iloc[0]
    return float((price * target).sum() + startup * (target - p.instances).clip(lower=0).sum())


def feasible(p: AllocationProblem, target: pd.Series) -> bool:
    theta = p.theta_tps.reindex(target.index.droplevel("region")).to_numpy()
    served = pd.Series(theta * target.to_numpy(), index=target.index)
    local = served.groupby(["model", "region"]).sum()
    slack = 1e-6
    return bool(
        (target.groupby(["model", "region"]).sum() >= p.floor_instances).all()
        and (local >= p.local_share * p.demand_tps - slack).all()
        and (served.groupby("model").sum() >= p.demand_tps.groupby("model").sum() - slack).all()
        and (target.groupby(["region", "gpu"]).sum() <= p.capacity_vms).all()
    )


def brute_force(p: AllocationProblem, most: int) -> float:
    best = math.inf
    for counts in itertools.product(range(most + 1), repeat=len(p.instances)):
        target = pd.Series(counts, index=p.instances.index)
        if feasible(p, target):
            best = min(best, cost(p, target))
    return best


@pytest.mark.parametrize("solver", SOLVERS)
@given(
    held=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    demand=st.lists(st.floats(0, 1800), min_size=4, max_size=4),
    local_share=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=8)
def test_solution_is_feasible_and_as_cheap_as_any(solver: str, held: list, demand: list, local_share: float) -> None:
    p = problem(held, demand, local_share=local_share, theta_tps=[1000.0, 900.0])
    allocation = solve(p, solver)
    assert feasible(p, allocation.target)
    best = brute_force(p, most=4)
    assert allocation.cost_usd_per_h == pytest.approx(cost(p, allocation.target), rel=1e-9)
    assert best - 1e-6 <= allocation.cost_usd_per_h <= best * (1 + allocation.gap) + 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_cheaper_gpu_type_is_chosen_per_token(solver: str) -> None:
    """The fast type costs 3 times as much and does only twice as much."""
    p = problem(
        [1, 0, 1, 0],
        [3900.0, 3900.0],
        models=("a",),
        gpus=("H100", "A100"),
        theta_tps=[2000.0, 1000.0],
        price_usd_per_h=[98.32, 32.77],
        startup_cost_usd=0.0,
    )
    target = solve(p, solver).target
    assert target.groupby("gpu").sum().to_dict() == {"A100": 8, "H100": 0}


@pytest.mark.parametrize("solver", SOLVERS)
def test_start_up_cost_keeps_what_runs(solver: str) -> None:
    """Demand that fits either region is left where instances already are."""
    p = problem([3, 0], [900.0, 900.0], models=("a",), theta_tps=[1000.0], floor=0, local_share=0.0)
    assert list(solve(p, solver).target) == [2, 0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_infeasible_names_region_model_gpu_and_vms_short(solver: str) -> None:
    p = problem([1, 1, 1, 1], [9000.0, 100.0, 6000.0, 100.0], capacity_vms=20, local_share=1.0)
    with pytest.raises(
        InfeasibleAllocationError, match=r"Region east is 4 VMs short of H100.*has 20.*most of them b \(15\)"
    ):
        solve(p, solver)
    apart = problem([1, 1], [9000.0, 9000.0], models=("a",), theta_tps=[1000.0], capacity_vms=8, local_share=0.1)
    with pytest.raises(InfeasibleAllocationError, match=r"The fleet is 2 VMs short of H100.*a \(18\)"):
        solve(apart, solver)


def test_other_solver_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "glpk_available", lambda: False)
    name, remark = choose_solver("glpk")
    assert name == "highs"
    assert "'glpk' was not found" in remark

    class Nothing:
        def available(self) -> bool:
            return False

    monkeypatch.setattr(solvers, "Highs", Nothing)
    with pytest.raises(SolverNotFoundError, match="conda install -c conda-forge glpk"):
        choose_solver("glpk")


def test_glpk_of_an_environment_that_is_not_activated_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "glpsol").write_text("#!/bin/sh\n")
    (tmp_path / "glpsol").chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert solvers.glpsol() == str(tmp_path / "glpsol")


def test_planner_follows_demand_and_solves_each_question_once() -> None:
    places = [(region, model) for region in ("eastus", "westus") for model in ("BLOOM-176B", "Llama-2-70B")]
    demand = pd.DataFrame([[1e4] * 4, [3e4] * 4, [1e4] * 4, [np.nan] * 4], columns=pd.MultiIndex.from_tuples(places))
    demand.index = [0.0, 3600.0, 7200.0, 10800.0]
    theta = {"BLOOM-176B": 2000.0, "Llama-2-70B": 5000.0}
    planner = AllocationPlanner(PAPER, theta, {"forecast": demand}, "highs")
    table = planner.chain("forecast", START, dict.fromkeys(places, 3))
    assert list(table["time"].unique()) == [START, START + pd.Timedelta(hours=1), START + pd.Timedelta(hours=2)]
    by_hour = table[table["model"] == "BLOOM-176B"].groupby("time")["instances"].sum()
    assert list(by_hour) == [10, 30, 10]
    assert (table["capacity_tps"] >= table["demand_tps"]).all()
    last = table[table["time"] == table["time"].max()].set_index(["region", "model"])["instances"].sort_index()
    assert (3 + table.groupby(["region", "model"])["delta"].sum().sort_index() == last).all()
    solved = planner.solves
    planner.chain("forecast", START, dict.fromkeys(places, 3))
    assert planner.solves == solved == 3
    assert planner.forecast_tps("forecast", 3599.0) == planner.forecast_tps("forecast", 0.0) != {}
    assert planner.forecast_tps("forecast", 14400.0) == {}
    assert planner.plan("forecast", 10800.0, dict.fromkeys(places, 3)) == {}
    assert planner.plan("actual", 0.0, dict.fromkeys(places, 3)) == {}


def demand_rows(rates: dict[str, list[float]], step_min: int = 30) -> pd.DataFrame:
    """A demand table of one endpoint with given TPS per tier and interval."""
    rows = [
        (START + pd.Timedelta(minutes=step_min * k), "eastus", "m", tier, 1, rate * step_min * 60, 0)
        for tier, values in rates.items()
        for k, rate in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["time", "region", "model", "tier", "requests", "prompt_tokens", "output_tokens"])


def test_planned_demand_is_the_hours_peak_and_a_share_of_recent_batch_load() -> None:
    demand = demand_rows({"IW-F": [10.0, 30.0, 20.0, 5.0], "NIW": [100.0, 200.0, 400.0, 0.0]})
    hours = pd.date_range(START, periods=2, freq="h")
    peaks = pd.DataFrame(
        [(START, "eastus", "m", 25.0, 40.0), (START + pd.Timedelta(hours=9), "eastus", "m", 999.0, 999.0)],
        columns=["origin", "region", "model", "q50_tps", "q90_tps"],
    )
    rho = planned_demand(demand, peaks, hours, START, 0.1)
    place = ("eastus", "m")
    # The first hour has no batch load before it; the second has a mean of 150.
    assert rho["actual"][place].to_dict() == {0.0: 30.0, 3600.0: 35.0}
    assert rho["peak"][place].to_dict() == {0.0: 35.0, 3600.0: 35.0}
    assert rho["forecast"][place][0.0] == 25.0
    assert math.isnan(rho["forecast"][place][3600.0])
    cautious = planned_demand(demand, peaks, hours, START, 0.1, "q90_tps")
    assert cautious["forecast"][place][0.0] == 40.0


@given(change=st.floats(0, 1e6), hour=st.integers(1, 3))
@settings(max_examples=20)
def test_buffer_uses_nothing_of_the_hour_or_after(change: float, hour: int) -> None:
    values = [100.0] * 8
    hours = pd.date_range(START, periods=4, freq="h")
    empty = pd.DataFrame(columns=["origin", "region", "model", "q50_tps"])
    before = planned_demand(demand_rows({"IW-F": [0.0] * 8, "NIW": values}), empty, hours, START, 0.1)["actual"]
    values[2 * hour] = change
    after = planned_demand(demand_rows({"IW-F": [0.0] * 8, "NIW": values}), empty, hours, START, 0.1)["actual"]
    pd.testing.assert_frame_equal(after.iloc[: hour + 1], before.iloc[: hour + 1])


def test_theta_falls_with_longer_prompts_and_is_cached(generated) -> None:
    def sample(prompt: int) -> pd.DataFrame:
        return pd.DataFrame({"model": "Llama-2-70B", "prompt_tokens": [prompt] * 50, "output_tokens": [100] * 50})

    models = ("Llama-2-70B",)
    short = theta_tps(sample(1000), models, PAPER, seed=1)["Llama-2-70B"]
    long = theta_tps(sample(8000), models, PAPER, seed=1)["Llama-2-70B"]
    # 8000 tokens take 0.7 s to prefill and the promise is 1 s: hardly any queue is allowed.
    assert long < short
    prefill_only = 1 / 8.735e-5
    assert 0 < short < prefill_only
    files = sorted(generated.glob("theta-*.json"))
    assert len(files) == 2
    assert theta_tps(sample(1000), models, PAPER, seed=1)["Llama-2-70B"] == short
    files[0].write_text('{"theta_tps": 1.0}')
    files[1].write_text('{"theta_tps": 1.0}')
    assert theta_tps(sample(1000), models, PAPER, seed=1)["Llama-2-70B"] == 1.0
