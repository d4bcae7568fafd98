"""Which policies are simulated: those asked for, or those of the default report that the fleet can have."""

import pytest
from small_fleets import scenario_of

from sageserve_lib.errors import InputError
from sageserve_lib.policies import DEFAULT_POLICIES
from sageserve_lib.workbook.choices import that_fit


def test_policies_that_the_fleet_cannot_have_are_left_out_unless_they_are_asked_for() -> None:
    one = scenario_of(instances_per_endpoint=1, scaling={"min_instances": 1})
    names, why = that_fit((), one)
    assert names == tuple(name for name in DEFAULT_POLICIES if name != "siloed")
    assert why == [
        "siloed is not simulated: siloed keeps two pools for each model and region, 1 of 1 instances for batch requests "
        "(instances_per_endpoint, niw_instances_when_siloed): none is left for interactive ones."
    ]
    assert that_fit(("reactive",), one) == (("reactive",), [])
    with pytest.raises(InputError, match="siloed keeps two pools"):
        that_fit(("reactive", "siloed"), one)
    assert that_fit((), scenario_of()) == (DEFAULT_POLICIES, [])


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="Unknown policies lt-x; there are chiron, "):
        that_fit(("reactive", "lt-x"), scenario_of())
