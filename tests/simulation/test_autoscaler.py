"""The compiled autoscaler: sequences worked out by hand, and random ones against plain Python."""

import numpy as np
import pytest
from numba import njit
from reference_autoscaler import ReferenceAutoscaler

from sageserve_lib.errors import InputError
from sageserve_lib.policies.autoscaler import IN, OUT, Autoscaler, Behavior, Floor, Limit, Metric, ToZero
from sageserve_lib.simulation import autoscaler, autoscaler_state

SOON = Behavior(0.0, (Limit("percent", 100, 15.0),))
BUSY = Metric("in-progress", 10.0)
QUEUE = Metric("waiting", 5.0, "average")


@njit
def look(records, ready, held, time_s):
    return autoscaler.wanted(records[0], ready, held, time_s)


class Compiled:
    """The compiled autoscaler of one pool."""

    def __init__(self, told: Autoscaler, time_s: float = 0.0) -> None:
        self.records = np.zeros(1, dtype=autoscaler_state.AUTOSCALER)
        autoscaler_state.tell(self.records, told, time_s)

    def wanted(self, values, ready, held, time_s):
        self.records["metrics"]["measured"][0, : len(values)] = values
        found = look(self.records, ready, held, time_s)
        return None if found < 0 else found

    def change(self, by, time_s):
        n = self.records["n_changed"][0]
        self.records["changed"][0, n] = (time_s, by)
        self.records["n_changed"] += 1


class Plain(ReferenceAutoscaler):
    def change(self, by, time_s):
        self.changed.append((time_s, by))


@pytest.fixture(params=[Compiled, Plain])
def made(request):
    return request.param


def played(scaler, looks, held, start_s=15.0, every_s=15.0):
    """Instances after each look at one number per metric; all are ready at once, and there are always more to have."""
    counts = []
    for k, values in enumerate(looks):
        time_s = start_s + every_s * k
        found = scaler.wanted(values if isinstance(values, tuple) else (values,), held, held, time_s)
        if found is not None and found != held:
            scaler.change(found - held, time_s)
            held = found
        counts.append(held)
    return counts


def test_desired_is_current_times_metric_over_target_rounded_up(made) -> None:
    told = Autoscaler((BUSY,), most=100, back=SOON)
    # 4 instances with 50, 61 and 20 requests in progress: ratios of 1.25, 1.22 (of 5), 0.29 (of 7).
    assert played(made(told), [50, 61, 20], held=4)[0] == 5
    assert made(told).wanted((61,), 5, 5, 15.0) == 7  # 6.1
    assert made(told).wanted((20,), 7, 7, 15.0) == 2


def test_within_a_tenth_of_its_target_a_metric_changes_nothing(made) -> None:
    told = Autoscaler((BUSY,), most=100, back=SOON)
    for held, total, found in ((10, 110, 10), (10, 111, 12), (10, 90, 10), (10, 89, 9), (20, 219, 20), (20, 221, 23)):
        assert made(told).wanted((total,), held, held, 15.0) == found, (held, total)
    wide = Autoscaler((BUSY,), most=100, out=Behavior(0.0, OUT.limits, tolerance=0.5), back=SOON)
    assert made(wide).wanted((149,), 10, 10, 15.0) == 10
    assert made(wide).wanted((151,), 10, 10, 15.0) == 16
    assert made(wide).wanted((89,), 10, 10, 15.0) == 9  # the other direction has its own


def test_out_at_most_twice_or_four_more_in_15_seconds(made) -> None:
    told = Autoscaler((BUSY,), most=100)
    # From 1: 4 more beat twice as many; from 5: twice as many beat 4 more; then the 37 asked for.
    assert played(made(told), [370] * 6, held=1) == [5, 10, 20, 37, 37, 37]
    assert played(made(Autoscaler((BUSY,), most=12)), [370] * 4, held=1) == [5, 10, 12, 12]


def test_a_limit_counts_from_when_its_period_began(made) -> None:
    two_a_minute = Behavior(0.0, (Limit("instances", 2, 60.0),))
    told = Autoscaler((BUSY,), most=100, out=two_a_minute)
    # Looks at 15, 30, ... 120 s: two at 15 s; the minute after that is over at 75 s.
    assert played(made(told), [370] * 8, held=3) == [5, 5, 5, 5, 7, 7, 7, 7]
    both = Behavior(0.0, (Limit("instances", 2, 60.0), Limit("percent", 10, 15.0)), select="min")
    # A tenth of 3 or 4, rounded up, is one in 15 s, and two in a minute.
    assert played(made(Autoscaler((BUSY,), most=100, out=both)), [370] * 6, held=3) == [4, 5, 5, 5, 6, 7]
    off = Behavior(0.0, OUT.limits, select="disabled")
    assert played(made(Autoscaler((BUSY,), most=100, out=off)), [370] * 3, held=3) == [3, 3, 3]


def test_in_at_most_what_its_limits_allow(made) -> None:
    tenth = Behavior(0.0, (Limit("percent", 10, 60.0),))
    # 20 less a tenth is 18 in a minute; then 16.2, of which the part stays behind: 16.
    assert played(made(Autoscaler((BUSY,), most=100, back=tenth)), [10] * 9, held=20) == [18] * 4 + [16] * 4 + [14]
    one = Behavior(0.0, (Limit("percent", 50, 15.0), Limit("instances", 1, 30.0)), select="min")
    assert played(made(Autoscaler((BUSY,), most=100, back=one)), [10] * 5, held=20) == [19, 19, 18, 18, 17]
    fast = Behavior(0.0, (Limit("percent", 50, 15.0), Limit("instances", 1, 30.0)))
    assert played(made(Autoscaler((BUSY,), most=100, fewest=3, back=fast)), [10] * 4, held=20) == [10, 5, 3, 3]


def test_in_by_the_highest_recommendation_of_the_last_five_minutes(made) -> None:
    # The count at the first look, 10, is a recommendation too: in force before 315 s, as the 6 of 30 s is before 330 s.
    looks = [80, 60, *[20] * 22]
    counts = played(made(Autoscaler((BUSY,), most=100)), looks, held=10)
    times = [15.0 * (k + 1) for k in range(len(looks))]
    assert [n for t, n in zip(times, counts, strict=True) if t < 315] == [10] * 20
    assert dict(zip(times, counts, strict=True))[315.0] == 6
    assert dict(zip(times, counts, strict=True))[330.0] == 2


def test_out_by_the_lowest_recommendation_of_its_window(made) -> None:
    slow = Behavior(60.0, OUT.limits)
    counts = played(made(Autoscaler((BUSY,), most=100, out=slow)), [90, 50, 90, 90, 90, 90, 90], held=2)
    # 2 at 15 s, and then 5 at 30 s, hold until a minute later.
    assert counts == [2, 2, 2, 2, 5, 9, 9]


def test_instances_that_are_not_ready_use_nothing_when_scaling_out(made) -> None:
    told = Autoscaler((BUSY,), most=100, back=SOON)
    # 60 on 3 of 5: 20 each asks for 6 of the 3, but over all 5 it is 12 each: 6.
    assert made(told).wanted((60,), 3, 5, 15.0) == 6
    # 60 on 3 of 6: 10 each over all, so those on their way will do; nor does it go in for it.
    assert made(told).wanted((60,), 3, 6, 15.0) == 6
    assert made(told).wanted((60,), 3, 8, 15.0) == 8


def test_instances_that_are_not_ready_are_left_out_when_scaling_in(made) -> None:
    told = Autoscaler((BUSY,), most=100, back=SOON)
    assert made(told).wanted((15,), 3, 5, 15.0) == 2  # 5 each, of 3
    assert made(told).wanted((29,), 3, 5, 15.0) == 5  # 9.7 each is near enough


def test_without_an_instance_that_is_ready_nothing_is_known(made) -> None:
    told = Autoscaler((BUSY,), most=100, back=SOON)
    assert made(told).wanted((0,), 0, 4, 15.0) is None
    # With another metric it goes out, but not in.
    both = Autoscaler((BUSY, QUEUE), most=100, back=SOON)
    assert made(both).wanted((0, 40), 0, 4, 15.0) == 8
    assert made(both).wanted((0, 0), 0, 4, 15.0) is None


def test_of_several_metrics_the_largest_count_wins(made) -> None:
    told = Autoscaler((BUSY, QUEUE, Metric("kv-usage", 0.5)), most=100, back=SOON)
    assert made(told).wanted((20, 5, 0.4), 4, 4, 15.0) == 2
    assert made(told).wanted((20, 33, 0.4), 4, 4, 15.0) == 7  # 33 / 5
    assert made(told).wanted((20, 33, 3.8), 4, 4, 15.0) == 8  # 0.95 each, of 4


def test_one_number_is_divided_by_all_instances_or_by_none(made) -> None:
    average = Autoscaler((QUEUE,), most=100, back=SOON)
    assert made(average).wanted((21,), 2, 4, 15.0) == 4  # 5.25 each, counting those on their way
    assert made(average).wanted((23,), 2, 4, 15.0) == 5
    assert made(average).wanted((4,), 2, 4, 15.0) == 1
    value = Autoscaler((Metric("waiting", 5.0, "value"),), most=100, back=SOON)
    assert made(value).wanted((10,), 3, 4, 15.0) == 6  # twice as many as are ready
    assert made(value).wanted((5.4,), 3, 4, 15.0) == 4


def test_bounds_come_first_and_at_once(made) -> None:
    told = Autoscaler((BUSY,), most=6, fewest=3)
    assert made(told).wanted((0,), 10, 10, 15.0) == 6
    assert made(told).wanted((0,), 1, 1, 15.0) == 3
    assert played(made(told), [0] * 25, held=5)[-1] == 3


def test_looks_come_at_the_first_tick_at_or_after_their_time(made) -> None:
    scaler = made(Autoscaler((BUSY,), most=100, sync_s=20.0))
    found = [scaler.wanted((40,), 2, 2, 15.0 * k) for k in range(1, 8)]
    # Due at 0, 20, 40, ... s, looked at every 15 s: at 15, 30, 45, 60, then 90 for 80, and 105 for 100.
    assert [n is not None for n in found] == [True, True, True, True, False, True, True]


def test_floors_hold_between_their_times(made) -> None:
    told = Autoscaler((QUEUE,), most=100, back=SOON, floors=(Floor(30.0, 60.0, 8), Floor(45.0, 75.0, 6)))
    assert played(made(told), [5] * 6, held=4) == [1, 5, 8, 6, 1, 1]  # by at most 4 more in 15 s
    alone = Autoscaler((), most=100, back=SOON, floors=told.floors)
    assert played(made(alone), [()] * 6, held=4) == [1, 5, 8, 6, 1, 1]


def test_keda_scales_to_none_when_nothing_was_active_for_its_cooldown(made) -> None:
    metric = Metric("waiting", 5.0, "average", activation=2.0)
    told = Autoscaler((metric,), most=100, fewest=0, back=SOON, to_zero=ToZero(30.0, 60.0))
    # Polled every 30 s. Active at 30 s, and no more at 60 s, 2 not being more than 2; at 120 s that is more than a minute ago.
    looks = [3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3]
    counts = played(made(told), looks, held=2)
    assert counts == [1] * 7 + [0] * 4 + [1]


def test_keda_starts_as_many_as_it_keeps_at_least(made) -> None:
    told = Autoscaler((QUEUE,), most=100, fewest=3, to_zero=ToZero(30.0, 60.0))
    assert played(made(told), [0] * 9, held=0) == [0] * 9
    assert played(made(told), [1, 1], held=0) == [3, 3]
    floored = Autoscaler((QUEUE,), most=100, fewest=0, to_zero=ToZero(30.0, 60.0), floors=(Floor(40.0, 80.0, 2),))
    # At 45 s KEDA starts the first; from there it is the other's to have two, and to keep them for five minutes.
    assert played(made(floored), [0, 0, 0, 0], held=0, every_s=30.0) == [0, 1, 2, 2]


def behavior_of(rng: np.random.Generator) -> Behavior:
    units = ("instances", "percent")
    limits = tuple(
        Limit(units[int(rng.integers(2))], int(rng.integers(1, 120)), float(rng.choice([15, 30, 60, 1800])))
        for _ in range(rng.integers(1, 4))
    )
    select = ("max", "min", "max", "min", "disabled")[int(rng.integers(5))]
    return Behavior(float(rng.choice([0, 15, 60, 300, 3600])), limits, select, float(rng.choice([0.0, 0.1, 0.3])))


def metric_of(rng: np.random.Generator) -> Metric:
    kind = ("pods", "average", "value")[int(rng.integers(3))]
    return Metric("waiting", float(rng.uniform(1, 20)), kind, activation=float(rng.choice([0.0, 5.0])))


def autoscaler_of(rng: np.random.Generator) -> Autoscaler:
    fewest = int(rng.integers(0, 3))
    floors = tuple(
        Floor(begin, begin + float(rng.uniform(0, 900)), int(rng.integers(1, 15))) for begin in rng.uniform(0, 5000, 3)
    )
    return Autoscaler(
        metrics=tuple(metric_of(rng) for _ in range(rng.integers(1, 4))),
        fewest=fewest,
        most=fewest + int(rng.integers(1, 30)),
        sync_s=float(rng.choice([15, 20, 60])),
        out=behavior_of(rng) if rng.integers(2) else OUT,
        back=behavior_of(rng) if rng.integers(2) else IN,
        floors=floors[: int(rng.integers(0, 4))],
        to_zero=ToZero(float(rng.choice([15, 30, 45])), float(rng.choice([0, 60, 300]))) if rng.integers(2) else None,
    )


@pytest.mark.parametrize("seed", range(60))
def test_compiled_and_plain_agree_on_random_sequences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = autoscaler_of(rng)
    scalers = Compiled(told), Plain(told)
    held, level = int(rng.integers(1, 10)), 10.0
    for k in range(1, 400):
        level = max(level + float(rng.normal(0, 20)), 0.0) * float(rng.random() < 0.97)
        values = tuple(level * float(rng.uniform(0.5, 1.5)) for _ in told.metrics)
        ready = int(rng.integers(0, held + 1)) if rng.random() < 0.3 else held
        found, expected = (scaler.wanted(values, ready, held, 15.0 * k) for scaler in scalers)
        assert found == expected, (k, held, ready, values)
        if found is not None and found != held:
            # What there is to have may run out, and what is busy stays.
            after = found if rng.random() < 0.8 else int(rng.integers(min(found, held), max(found, held) + 1))
            for scaler in scalers:
                scaler.change(after - held, 15.0 * k)
            held = after


def test_what_it_is_told_anew_leaves_what_it_remembers() -> None:
    scaler = Compiled(Autoscaler((BUSY,), most=100))
    assert played(scaler, [80] * 5, held=8)[-1] == 8
    autoscaler_state.tell(scaler.records, Autoscaler((Metric("in-progress", 20.0),), most=100), 80.0)
    assert played(scaler, [80] * 3, held=8, start_s=90.0) == [8, 8, 8]  # by the 8 of before


def test_what_there_is_no_room_for_is_refused() -> None:
    records = np.zeros(1, dtype=autoscaler_state.AUTOSCALER)
    wrong = [
        Autoscaler((BUSY,) * 9, most=1),
        Autoscaler((Metric("tps", 0.0),), most=1),
        Autoscaler((BUSY,), most=1, back=Behavior(3601.0, IN.limits)),
        Autoscaler((BUSY,), most=1, sync_s=0.5),
        Autoscaler((BUSY,), most=1, to_zero=ToZero(polling_s=0.0)),
        Autoscaler((BUSY,), most=1, fewest=2),
        Autoscaler((BUSY,), most=1, floors=(Floor(0.0, 1.0, 1),) * 65),
    ]
    for told in wrong:
        with pytest.raises(InputError):
            autoscaler_state.tell(records, told, 0.0)
    assert not records["on"][0]
