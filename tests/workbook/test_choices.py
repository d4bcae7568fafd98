"""Which policies are simulated: those asked for, or those of the default report that the fleet can have."""

import pytest

from sageserve_lib.catalogue import Scenario, load_scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies import DEFAULT_POLICIES
from sageserve_lib.workbook.choices import that_fit


def of_instances(start: int, *changes: str) -> Scenario:
    return load_scenario("paper", [*(f"variants.{k}.start={start}" for k in range(4)), *changes])


def test_policies_that_the_fleet_cannot_have_are_left_out_unless_they_are_asked_for() -> None:
    one = of_instances(1, "niw_instances_when_siloed=1", "scaling.min_instances=1")
    names, why = that_fit((), one)
    assert names == tuple(name for name in DEFAULT_POLICIES if name != "siloed")
    assert why == [
        "siloed is not simulated: siloed keeps two pools for each model and region, 1 of 1 instances of BLOOM-176B in "
        "centralus for batch requests (variants' start, niw_instances_when_siloed): none is left for interactive ones."
    ]
    assert that_fit(("reactive",), one) == (("reactive",), [])
    with pytest.raises(InputError, match="siloed keeps two pools"):
        that_fit(("reactive", "siloed"), one)
    assert that_fit((), of_instances(5)) == (DEFAULT_POLICIES, [])


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="Unknown policies lt-x; there are chiron, "):
        that_fit(("reactive", "lt-x"), of_instances(5))
