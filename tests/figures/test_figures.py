"""Figures of much: eleven policies, ten regions, nine models. What cannot be told apart is not drawn in one plot."""

import itertools
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from sageserve_lib import costs, tables
from sageserve_lib.figures import (
    allocation,
    anomalies,
    bursts,
    evenness,
    forecast,
    many,
    policies,
    regularity,
    sizes,
    sweep,
    volume,
)
from sageserve_lib.figures import costs as cost_figures
from sageserve_lib.figures.style import use_style
from sageserve_lib.policies import DEFAULT_POLICIES

START = pd.Timestamp("2026-06-01", tz="UTC")
END = START + pd.Timedelta(days=7)
REGIONS = [f"region-{k}" for k in range(10)]
MODELS = [f"model-{k}" for k in range(9)]
HOURS = pd.date_range(START, END, freq="h", inclusive="left")
#: So many colours can be found again in a legend.
TOLD_APART = 6
PROMISES_S = {"IW-F": 1.0, "IW-N": 60.0, "NIW": 86_400.0}


@pytest.fixture(autouse=True)
def style():
    use_style()
    yield
    plt.close("all")


def product(**columns) -> pd.DataFrame:
    """A row for every combination, and a number that differs from row to row."""
    frame = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    return frame.assign(value=1.0 + np.arange(len(frame)) * 7 % 31)


def instances(names=DEFAULT_POLICIES) -> pd.DataFrame:
    rows = product(policy=names, region=["east"], model=["m"], time_s=range(0, 7 * 86_400, 1800))
    return rows.assign(serving=rows["value"], acquiring=0, draining=0, variant="m on 8 × H100-80GB")


def held(names=DEFAULT_POLICIES) -> pd.DataFrame:
    rows = product(policy=names, gpu=[f"gpu-{k}" for k in range(9)])
    zero = dict.fromkeys(["reclaim_h", "swap_h", "cold_h", "draining_h", "after_h"], 0.0)
    return rows.assign(serving_h=rows["value"], gpus_per_instance=2, **zero)


def utilization(names=DEFAULT_POLICIES) -> pd.DataFrame:
    rows = product(policy=names, region=["east"], model=["m"], time_s=range(0, 7 * 86_400, 900))
    return rows.assign(utilization=rows["value"] / 40)


def distributions(names=DEFAULT_POLICIES) -> pd.DataFrame:
    rows = product(policy=names, tier=list(PROMISES_S), share=[0.5, 0.9, 0.99, 0.999])
    return rows.assign(value_s=rows["value"], measure=np.where(rows["tier"] == "NIW", "e2e", "ttft"))


def plan() -> pd.DataFrame:
    rows = product(time=HOURS[:30], model=MODELS, region=REGIONS, gpu=["H100-80GB"])
    return rows.assign(demand_tps=rows["value"], capacity_tps=rows["value"] * 2, instances=2)


def rates() -> pd.DataFrame:
    columns = pd.MultiIndex.from_product([["model-0"], REGIONS], names=["model", "region"])
    return pd.DataFrame(np.random.default_rng(0).random((len(HOURS), 10)), index=HOURS, columns=columns)


def over_time(name: str, labels: list[str]) -> pd.DataFrame:
    return product(time=HOURS[:48], **{name: labels}).rename(columns={"value": "tps"}).assign(length_s=3600.0)


def drawn_of_much() -> dict[str, Callable[[], Figure]]:
    """Every figure whose lines, dots or parts are as many as policies, regions, models, methods or GPU types."""
    shape = product(region=REGIONS, hour=range(24)).rename(columns={"value": "requests_per_s"})
    phases = pd.DataFrame({"region": REGIONS, "peak_h": np.arange(10.0)})
    places = product(model=MODELS, region=REGIONS)
    density = product(model=MODELS, kind=["prompt", "output"], tokens=[10.0, 100.0, 1000.0]).assign(
        pct_per_decade=30.0, cumulative_pct=50.0, requests=lambda rows: rows["model"].str[-1].astype(int) + 1
    )
    mixtures = pd.DataFrame({"model": MODELS, "kind": "prompt", "median_tokens": 90.0})
    shifts = pd.DataFrame({"model": "model-0", "region": REGIONS[3:5], "time": HOURS[60]})
    dollars = product(policy=DEFAULT_POLICIES, region=REGIONS, model=MODELS).assign(
        sku="H100", monthly_cost_usd=1e6, gpu=lambda rows: [f"gpu-{k % 9}" for k in rows.index]
    )
    binding = places.assign(floor=places["value"] > 9, local_demand=True, total_demand=True, nothing=True)
    methods = [*forecast.METHODS, forecast.COMBINATION]
    forecasts = product(origin=HOURS[:40], model=MODELS, region=REGIONS[:4]).assign(
        actual_tps=1.0, method=lambda rows: [methods[k % len(methods)] for k in rows.index]
    )
    gpus = [f"gpu-{k}" for k in range(9)]
    prices = pd.DataFrame(np.arange(18.0).reshape(2, 9) + 1, columns=gpus, index=[1.0, 2.0])
    by = {"tier": over_time("tier", ["IW-F", "NIW"])}
    by |= {"model": over_time("model", MODELS), "region": over_time("region", REGIONS)}
    return {
        "instances": lambda: policies.instances_over_time(instances(), START, END),
        "utilization": lambda: policies.utilization_over_time(utilization(), START),
        "latency": lambda: policies.latency_by_tier(distributions(), PROMISES_S),
        "demand": lambda: volume.demand_over_time(by, START),
        "days": lambda: regularity.day_shapes(shape, phases),
        "seasons": lambda: regularity.seasonal_strength(places.assign(daily=0.5, weekly=places["value"] / 40)),
        "peaks": lambda: bursts.peak_to_mean(places.rename(columns={"value": "peak_to_mean"})),
        "tokens": lambda: sizes.token_distribution(density, mixtures),
        "regions": lambda: evenness.region_and_model(places.assign(requests_pct=1.1, tokens_pct=1.1)),
        "shifts": lambda: anomalies.level_shifts(rates(), shifts),
        "types": lambda: policies.gpus_by_type(held(), 10.0),
        "dollars": lambda: cost_figures.monthly_dollars(dollars),
        "capacity": lambda: allocation.demand_and_capacity(plan()),
        "plan": lambda: allocation.instances_by_gpu(plan()),
        "binding": lambda: allocation.what_binds(binding),
        "prices": lambda: allocation.instance_hours_by_price(prices, gpus, "price"),
        "methods": lambda: forecast.chosen_methods(forecasts),
    }


def colour_of(line: Line2D) -> str:
    """Of a line, or of the rims of dots."""
    return to_hex(line.get_color() if line.get_linestyle() != "None" else line.get_markeredgecolor())


def colours_of(axes: Axes) -> set[str]:
    """Colours in a plot, greys left out."""
    shown = [colour_of(line) for line in axes.lines]
    for part in (*axes.collections, *axes.patches):
        shown += list(np.atleast_2d(part.get_facecolor()))
    found = {to_hex(colour) for colour in shown}
    return {colour for colour in found if not colour[1:3] == colour[3:5] == colour[5:7] or colour == "#000000"}


@pytest.mark.parametrize("name", list(drawn_of_much()))
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_told_apart_is_not_drawn_in_one_plot(name: str) -> None:
    figure = drawn_of_much()[name]()
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    for axes in shown:
        in_colour = [colour_of(line) for line in axes.lines if len(line.get_xdata()) > 2]
        in_colour = [colour for colour in in_colour if colour.upper() != many.REST]
        assert len(in_colour) <= TOLD_APART or len(set(in_colour)) == 1
        assert len(colours_of(axes)) <= TOLD_APART
        legend = axes.get_legend()
        assert legend is None or len(legend.get_texts()) <= TOLD_APART + 1
    # A page is 1048 pixels wide: what is much wider becomes too small to read; what is very high is no picture.
    width, height = figure.get_size_inches()
    assert width <= 11
    assert height <= 14
    assert len(shown) <= 12


def test_many_policies_are_a_panel_each_and_few_one_plot() -> None:
    for draw in (
        lambda names: policies.instances_over_time(instances(names), START, END),
        lambda names: policies.utilization_over_time(utilization(names), START),
        lambda names: policies.latency_by_tier(distributions(names), PROMISES_S),
    ):
        titles = [axes.get_title(loc="left") for axes in draw(DEFAULT_POLICIES).axes if axes.get_visible()]
        assert titles == list(DEFAULT_POLICIES)
        few = draw(DEFAULT_POLICIES[:TOLD_APART])
        assert len([axes for axes in few.axes if axes.get_visible()]) < TOLD_APART


def test_panels_show_the_means_of_the_lines_themselves() -> None:
    lines = policies.held_over_time(instances(), START, END)
    panel = policies.instances_over_time(instances(), START, END).axes[0]
    (line,) = panel.lines
    assert len(line.get_ydata()) <= 170
    assert np.mean(line.get_ydata()) == pytest.approx(lines["siloed"].mean(), rel=0.01)
    assert panel.get_ylim()[1] >= lines.groupby(np.arange(len(lines)) // 4).mean().max().max()


def test_what_is_folded_adds_up_and_says_how_many() -> None:
    wide = pd.DataFrame(np.arange(27.0).reshape(3, 9), columns=MODELS)
    shown, colours = many.folded(wide, dict.fromkeys(MODELS, "#111111"))
    assert list(shown.columns) == [*MODELS[4:], "4 others"]
    assert shown.sum(axis=1).tolist() == wide.sum(axis=1).tolist()
    assert set(shown.columns) == set(colours)
    same, _ = many.folded(wide[MODELS[:6]], dict.fromkeys(MODELS, "#111111"))
    assert list(same.columns) == MODELS[:6]


def frontier(*rows: tuple[str, float, float]) -> pd.DataFrame:
    means = pd.DataFrame(rows, columns=["policy", "cost_usd", "iwf_sla_pct"]).set_index("policy")
    return costs.pareto(
        means.assign(iwf_attainable_pct=100.0, iwn_sla_pct=100.0, niw_sla_pct=100.0, gpu_hours=means["cost_usd"])
    )


def test_cost_against_service_shows_cost_and_says_over_how_long() -> None:
    points = frontier(("siloed", 200.0, 99.0), ("lt-i", 3.0, 90.0), ("chiron", 210.0, 98.0))
    (axes,) = cost_figures.cost_against_service(points, tables.empty("intervals"), START, END).axes
    assert axes.get_xlabel() == "cost over the trace's 7 days (USD)"
    assert axes.get_xlim()[0] >= 0
    at = {tuple(dots.get_offsets()[0]) for dots in axes.collections}
    assert at == {(200.0, 99.0), (3.0, 90.0), (210.0, 98.0)}
    bold = {text.get_text() for text in axes.texts if text.get_fontweight() == "bold"}
    assert bold == {"siloed", "lt-i"}


@pytest.mark.parametrize(("length", "words"), [("45min", "45 minutes"), ("5h", "5 hours"), ("36h", "36 hours")])
def test_cost_against_service_of_a_short_trace(length: str, words: str) -> None:
    end = START + pd.Timedelta(length)
    (axes,) = cost_figures.cost_against_service(
        frontier(("siloed", 20.0, 9.0)), tables.empty("intervals"), START, end
    ).axes
    assert axes.get_xlabel() == f"cost over the trace's {words} (USD)"


def assert_names_can_be_read(figure: Figure, names: int) -> None:
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [Text.get_window_extent(text) for text in axes.texts if isinstance(text, Annotation)]
        boxes = [Bbox.from_extents(box.x0, box.y0 + 2, box.x1, box.y1 - 2) for box in boxes]
        assert len(boxes) == names
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_names_of_policies_that_lie_close_are_not_written_upon_one_another() -> None:
    close = [(name, 100.0 + k / 50, 99.8 + k / 200) for k, name in enumerate(DEFAULT_POLICIES)]
    points = frontier(*close, ("mine", 200.0, 99.9))
    figure = cost_figures.cost_against_service(points, tables.empty("intervals"), START, END)
    assert_names_can_be_read(figure, len(close) + 1)


def test_where_all_cost_the_same_gpu_hours_are_drawn() -> None:
    shares = {"iwf_attainable_pct": 100.0, "iwn_sla_pct": 100.0, "niw_sla_pct": 100.0}
    rows = {"siloed": {"gpu_hours": 90.0, "iwf_sla_pct": 99.0}, "lt-i": {"gpu_hours": 30.0, "iwf_sla_pct": 99.0}}
    points = costs.pareto(pd.DataFrame(rows).T.assign(cost_usd=[10.0, 10.0 + 1e-12], **shares))
    assert points["dominated_by"].to_dict() == {"siloed": "lt-i", "lt-i": ""}
    (axes,) = cost_figures.cost_against_service(points, tables.empty("intervals"), START, END).axes
    assert axes.get_xlabel() == "GPU-hours held over the trace's 7 days (all cost the same)"
    assert {tuple(dots.get_offsets()[0]) for dots in axes.collections} == {(90.0, 99.0), (30.0, 99.0)}


def test_promises_that_are_not_made_are_not_drawn() -> None:
    for names in (DEFAULT_POLICIES, DEFAULT_POLICIES[:2]):
        figure = policies.latency_by_tier(distributions(names), {"NIW": 86_400.0})
        dashed = [line for axes in figure.axes for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed and {line.get_xdata()[0] for line in dashed} == {86_400.0}


def test_tokens_and_goodput_have_a_mark_per_policy_and_a_dot_per_model() -> None:
    table = pd.DataFrame({"policy": ["a", "b"], "usd_per_mtok": [2.0, 1.0], "goodput_per_gpu": [0.1, np.nan]})
    by_model = product(policy=["a", "b"], model=["m", "n"]).assign(
        usd_per_mtok=[1.0, 2, 3, np.nan], goodput_per_gpu=0.1
    )
    costs_of, goodput = cost_figures.tokens_and_goodput(table, by_model).axes
    of_all, *of_models = costs_of.collections
    assert of_all.get_offsets()[:, 0].tolist() == [2.0, 1.0]
    assert sum(len(dots.get_offsets()) for dots in of_models) == 3
    assert costs_of.get_xscale() == goodput.get_xscale() == "linear"
    (wide, _) = cost_figures.tokens_and_goodput(table, by_model.assign(usd_per_mtok=[1.0, 2, 30, np.nan])).axes
    assert wide.get_xscale() == "log"


def test_policies_of_a_sweep_are_named_at_their_points() -> None:
    rows = product(study=["s"], scenario=["a", "b", "c"], workload=["w"], policy=DEFAULT_POLICIES, measure=["x", "y"])
    rows = rows.assign(mean=rows["value"], low=rows["value"] - 1, high=rows["value"] + 1)
    figure = sweep.cost_against_service(rows, "x", "y", ("GPU-hours", "in SLA (%)"))
    for axes in figure.axes[3:]:
        axes.remove()
    assert figure.legends == []
    assert_names_can_be_read(figure, len(DEFAULT_POLICIES))
