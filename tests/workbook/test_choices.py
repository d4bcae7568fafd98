"""Which policies are simulated: those asked for, or those of the default report that the fleet can have."""

from pathlib import Path

import pytest
from small_fleets import scenario_of

from sageserve_lib import costs
from sageserve_lib.errors import InputError
from sageserve_lib.policies import DEFAULT_POLICIES, REGISTRY
from sageserve_lib.workbook.choices import policy_kinds, that_fit


def test_policies_that_the_fleet_cannot_have_are_left_out_unless_they_are_asked_for() -> None:
    one = scenario_of(start=1, scaling={"min_instances": 1})
    names, why = that_fit((), one)
    assert names == tuple(name for name in DEFAULT_POLICIES if name != "siloed")
    assert why == [
        "siloed is not simulated: siloed keeps two pools for each model and region, 1 of 1 instances of BLOOM-176B in "
        "centralus for batch requests (variants' start, niw_instances_when_siloed): none is left for interactive ones."
    ]
    assert that_fit(("reactive",), one) == (("reactive",), [])
    with pytest.raises(InputError, match="siloed keeps two pools"):
        that_fit(("reactive", "siloed"), one)
    assert that_fit((), scenario_of()) == (DEFAULT_POLICIES, [])


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="Unknown policies lt-x; there are chiron, "):
        that_fit(("reactive", "lt-x"), scenario_of())


OWN_HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: llama-2-70b}
spec:
  scaleTargetRef: {name: vllm}
  maxReplicas: 5
  metrics: [{type: Pods, pods: {metric: {name: vllm_num_requests_running}, target: {type: AverageValue, averageValue: "8"}}}]
"""


def test_the_user_s_own_autoscaler_comes_first_and_is_the_baseline(tmp_path: Path) -> None:
    file = tmp_path / "hpa.yaml"
    file.write_text(OWN_HPA, encoding="utf-8")
    kinds = policy_kinds(str(file), ["eastus"], ["Llama-2-70B", "BLOOM-176B"])
    assert that_fit((), scenario_of(), kinds)[0] == ("own-autoscaler", *DEFAULT_POLICIES)
    assert that_fit(("reactive", "own-autoscaler"), scenario_of(), kinds)[0] == ("own-autoscaler", "reactive")
    assert costs.baseline_of(that_fit((), scenario_of(), kinds)[0]) == "own-autoscaler"
    assert kinds["own-autoscaler"].summary
    assert "own-autoscaler" not in REGISTRY
    with pytest.raises(InputError, match="Unknown policies own-autoscaler"):
        that_fit(("own-autoscaler",), scenario_of())


def test_an_autoscaler_for_other_models_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hpa.yaml"
    file.write_text(f"{OWN_HPA}---{OWN_HPA.replace('llama-2-70b', 'bloom-176b')}", encoding="utf-8")
    policy_kinds(str(file), ["eastus"], ["Llama-2-70B", "BLOOM-176B"])
    with pytest.raises(InputError, match="'Mixtral-8x7B' has no autoscaler"):
        policy_kinds(str(file), ["eastus"], ["Llama-2-70B", "Mixtral-8x7B"])
