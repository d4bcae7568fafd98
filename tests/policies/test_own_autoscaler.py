"""The user's own autoscaler: what a file is read as, and what is refused by name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from textwrap import dedent

import numpy as np
import pytest
from small_fleets import THETA, random_trace, scenario_of

from sageserve_lib.errors import InputError
from sageserve_lib.policies import Endpoint, Observation, View
from sageserve_lib.policies.autoscaler import IN, OUT, Autoscaler, Behavior, Floor, Limit, Metric, ToZero
from sageserve_lib.policies.own import own_policy
from sageserve_lib.policies.own.queries import UnknownQueryError, read_query
from sageserve_lib.policies.own.read import read_autoscalers
from sageserve_lib.simulation import simulate

HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: chat, labels: {app: llama-2-70b}, managedFields: [{manager: kubectl}]}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}
  minReplicas: 2
  maxReplicas: 12
  metrics:
  - {type: Pods, pods: {metric: {name: vllm_num_requests_waiting}, target: {type: AverageValue, averageValue: 2500m}}}
  - type: External
    external: {metric: {name: "sglang:token_usage"}, target: {type: Value, value: "0.7"}}
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 30, tolerance: "0.05"}
    scaleDown:
      selectPolicy: Min
      policies: [{type: Pods, value: 1, periodSeconds: 120}, {type: Percent, value: 10, periodSeconds: 60}]
status: {currentReplicas: 3}
"""

KEDA = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: bloom}
spec:
  scaleTargetRef: {name: bloom-176b-vllm}
  pollingInterval: 10
  cooldownPeriod: 600
  maxReplicaCount: 9
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 60}}}}
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(vllm:num_requests_running{model_name="bigscience/bloom"} + vllm:num_requests_waiting)
      threshold: "20"
      activationThreshold: "1"
  - type: cron
    metadata: {timezone: Europe/Berlin, start: 0 8 * * 1-5, end: 0 18 * * 1-5, desiredReplicas: "4"}
"""


def told_by(tmp_path, text):
    file = tmp_path / "autoscaler.yaml"
    file.write_text(dedent(text), encoding="utf-8")
    return read_autoscalers(file)


def problems_with(tmp_path, text, **changes) -> str:
    for before, after in changes.values():
        assert before in text
        text = text.replace(before, after)
    with pytest.raises(InputError) as refused:
        told_by(tmp_path, text)
    return str(refused.value)


def test_a_horizontal_pod_autoscaler(tmp_path) -> None:
    (told,) = told_by(tmp_path, HPA)
    assert told.autoscaler == Autoscaler(
        metrics=(Metric("waiting", 2.5), Metric("kv-usage", 0.7, "value")),
        most=12,
        fewest=2,
        out=replace(OUT, window_s=30.0, tolerance=0.05),
        back=Behavior(300.0, (Limit("instances", 1, 120.0), Limit("percent", 10, 60.0)), "min"),
    )
    (note,) = told.notes
    assert "spec.metrics[2] (Resource cpu) is left out" in note


def test_a_scaled_object(tmp_path) -> None:
    (told,) = told_by(tmp_path, KEDA)
    assert told.autoscaler == Autoscaler(
        metrics=(Metric("in-progress", 20.0, "average", activation=1.0),),
        most=9,
        fewest=0,
        back=replace(IN, window_s=60.0),
        to_zero=ToZero(10.0, 600.0),
    )
    assert [(cron.start, cron.instances) for cron in told.cron] == [("0 8 * * 1-5", 4)]
    assert "bigscience/bloom" in told.names
    (kept,) = told_by(tmp_path, KEDA.replace("pollingInterval: 10", "minReplicaCount: 2"))
    assert (kept.autoscaler.fewest, kept.autoscaler.to_zero) == (2, None)


def test_what_is_not_certain_is_refused_by_name(tmp_path) -> None:
    said = problems_with(tmp_path, HPA, name=("vllm_num_requests_waiting", "DCGM_FI_DEV_GPU_UTIL"))
    assert "HorizontalPodAutoscaler chat: spec.metrics[0].metric.name: 'DCGM_FI_DEV_GPU_UTIL'" in said
    quantile = "histogram_quantile(0.9, sum by (le) (rate(vllm:e2e_request_latency_seconds_bucket[1m])))"
    query = 'sum(vllm:num_requests_running{model_name="bigscience/bloom"} + vllm:num_requests_waiting)'
    said = problems_with(tmp_path, KEDA, query=(query, quantile))
    assert "ScaledObject bloom: spec.triggers[0].metadata.query" in said
    assert quantile in said
    assert "spec.triggers[0].type: a 'kafka' trigger" in problems_with(
        tmp_path, KEDA, t=("type: prometheus", "type: kafka")
    )
    assert "spec.minReplica" in problems_with(tmp_path, HPA, field=("minReplicas: 2", "minReplica: 2"))
    assert "autoscaling/v2" in problems_with(tmp_path, HPA, version=("autoscaling/v2", "autoscaling/v1"))
    assert "averageValue above 0" in problems_with(tmp_path, HPA, zero=("averageValue: 2500m", "averageValue: 0"))
    assert "at least 2 instances, and at most 1" in problems_with(
        tmp_path, HPA, most=("maxReplicas: 12", "maxReplicas: 1")
    )
    assert "scalingModifiers" in problems_with(
        tmp_path, KEDA, m=("advanced: {", "advanced: {scalingModifiers: {formula: a}, ")
    )
    assert "is no cron expression" in problems_with(tmp_path, KEDA, cron=("0 18 * * 1-5", "0 25 * * 1-5"))
    assert "is paused" in problems_with(
        tmp_path, KEDA, paused=("{name: bloom}", '{name: b, annotations: {autoscaling.keda.sh/paused: "true"}}')
    )
    assert "has no autoscaler" in problems_with(tmp_path, "kind: Deployment\n")
    assert "is not YAML" in problems_with(tmp_path, "kind: [\n")


def test_a_processor_alone_is_refused(tmp_path) -> None:
    spec = "spec: {scaleTargetRef: {name: chat}, maxReplicas: 3, metrics: [{type: Resource, resource: {name: cpu}}]}"
    said = problems_with(tmp_path, HPA[: HPA.index("spec:")] + spec)
    assert "no metric is left: spec.metrics[0] (Resource cpu) is left out" in said
    assert "80 % of CPU" in problems_with(
        tmp_path, HPA[: HPA.index("spec:")] + spec.replace(", metrics: [{type: Resource, resource: {name: cpu}}]", "")
    )


@pytest.mark.parametrize(
    ("query", "signal", "over", "factor"),
    [
        ("sum(vllm:num_requests_waiting)", "waiting", "sum", 1),
        ("avg by (model_name) (vllm:gpu_cache_usage_perc{namespace='a', model_name=~\"x.*\"})", "kv-usage", "mean", 1),
        ("max(vllm:kv_cache_usage_perc) * 100", "kv-usage", "max", 100),
        ("sum(sglang:num_running_reqs)+sum(sglang:num_queue_reqs)", "in-progress", "sum", 1),
        ("(sum(tgi_queue_size) + sum(tgi_batch_current_size)) / 2", "in-progress", "sum", 0.5),
        ("max(vllm:num_requests_running + vllm:num_requests_waiting)", "in-progress", "max", 1),
        ("sum(rate(vllm:prompt_tokens_total[1m])) + sum(rate(vllm:generation_tokens_total[1m]))", "tps", "sum", 1),
        ("avg(rate(sglang:prompt_tokens_total[2m]) + rate(sglang:generation_tokens_total[2m]))", "tps", "mean", 1),
        ("sum(vllm:num_requests_waiting) or vector(0)", "waiting", "sum", 1),
    ],
)
def test_queries_whose_meaning_is_certain(query: str, signal: str, over: str, factor: float) -> None:
    found = read_query(query)
    assert (found.signal, found.over, found.factor) == (signal, over, factor)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "vllm:num_requests_waiting",  # several numbers
        "sum(nginx_connections_waiting)",
        'sum(vllm:num_requests_waiting{pod="vllm-0"})',  # one instance of several
        'sum(vllm:num_requests_waiting{model_name!="a"})',
        "sum by (pod) (vllm:num_requests_waiting)",
        "sum(avg_over_time(vllm:num_requests_waiting[5m]))",
        "sum(vllm:num_requests_waiting) / sum(vllm:num_requests_running)",
        "sum(vllm:num_requests_waiting) / 0",
        "sum(vllm:num_requests_waiting) - 1",
        "sum(vllm:num_requests_waiting) + 1",
        "sum(vllm:num_requests_waiting) + sum(vllm:num_requests_running) * 2",
        "sum(vllm:num_requests_waiting) + sum(vllm:num_requests_waiting)",
        "sum(vllm:num_requests_waiting) + avg(vllm:num_requests_running)",
        "max(vllm:num_requests_waiting) + max(vllm:num_requests_running)",
        "sum(rate(vllm:num_requests_waiting[1m]))",
        "sum(vllm:prompt_tokens_total) + sum(vllm:generation_tokens_total)",
        "sum(rate(vllm:prompt_tokens_total[1m]))",
        "sum(rate(vllm:prompt_tokens_total[1m])) + sum(rate(vllm:generation_tokens_total[5m]))",
        "sum(vllm:num_requests_waiting offset 5m)",
        "sum(vllm:num_requests_waiting) > 3",
        "count(vllm:num_requests_waiting)",
        "quantile(0.9, vllm:num_requests_waiting)",
        "sum(vllm:num_requests_waiting",
        "sum(vllm:num_requests_waiting))",
        "sum(vllm:num_requests_waiting{)",
    ],
)
def test_queries_whose_meaning_is_not(query: str) -> None:
    with pytest.raises(UnknownQueryError):
        read_query(query)


def test_each_model_has_its_own(tmp_path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text(f"{HPA}---\n{KEDA}---\nkind: Service\n", encoding="utf-8")
    policy, models = own_policy(file), ("BLOOM-176B", "Llama-2-70B")
    policy.check(["eastus"], models)
    found = [policy.found("eastus", model, models) for model in models]
    assert [told.autoscaler.most for told in found] == [9, 12]
    with pytest.raises(InputError, match=r"'Llama-3\.1-8B' has no autoscaler in region 'eastus'"):
        policy.check(["eastus"], (*models, "Llama-3.1-8B"))
    file.write_text(f"{HPA}---\n{KEDA}---\n{HPA.replace('chat', 'talk')}", encoding="utf-8")
    with pytest.raises(InputError, match="several autoscalers"):
        own_policy(file).check(["eastus"], models)
    own_region = HPA.replace("labels: {", "labels: {region: westus, ").replace("maxReplicas: 12", "maxReplicas: 7")
    file.write_text(f"{HPA}---\n{KEDA}---\n{own_region}", encoding="utf-8")
    found = [own_policy(file).found(region, "Llama-2-70B", models) for region in ("eastus", "westus")]
    assert [told.autoscaler.most for told in found] == [12, 7]


def test_a_list_of_objects_and_a_single_one_for_all(tmp_path) -> None:
    file = tmp_path / "list.yaml"
    file.write_text("kind: List\nitems:\n- " + HPA.strip().replace("\n", "\n  "), encoding="utf-8")
    policy = own_policy(file)
    policy.check(["eastus", "westus"], ("BLOOM-176B", "Llama-2-70B"))
    assert policy.found("westus", "BLOOM-176B", ("BLOOM-176B",)).autoscaler.most == 12


def test_cron_triggers_become_floors_until_the_next_look(tmp_path) -> None:
    file = tmp_path / "keda.yaml"
    file.write_text(KEDA, encoding="utf-8")
    policy = own_policy(file)(scenario_of())
    endpoint = Endpoint("eastus", "BLOOM-176B", "all")
    views = {endpoint: View(1, 0, 0.0, 0.0, 0.0, 0, 0, 1.0, 0.0, 0)}
    # Monday, 6 May 2024: eight in Berlin is six in UTC, 120 s from here.
    start = datetime(2024, 5, 6, 5, 58, tzinfo=UTC)
    (floor,) = policy.decide(Observation(0.0, views, start)).autoscalers[endpoint].floors
    assert floor == Floor(120.0, 300.0, 4)
    evening = Observation((timedelta(hours=10)).total_seconds(), views, start)
    (floor,) = policy.decide(evening).autoscalers[endpoint].floors
    assert floor == Floor(36_000.0, 36_120.0, 4)
    sunday = Observation(0.0, views, start - timedelta(days=1))
    assert policy.decide(sunday).autoscalers[endpoint].floors == ()
    with pytest.raises(InputError, match="cron"):
        policy.decide(Observation(0.0, views))


def test_it_is_followed(tmp_path) -> None:
    file = tmp_path / "hpa.yaml"
    file.write_text(HPA.replace("maxReplicas: 12", "maxReplicas: 2"), encoding="utf-8")
    scenario, trace = scenario_of(), random_trace(np.random.default_rng(3), 500, 4.0, ["eastus"])
    result = simulate(trace, own_policy(file)(scenario), scenario, THETA)
    assert (result.policy, result.totals["requests"]) == ("own-autoscaler", 500)
    assert result.instances["serving"].iloc[-1] == 2
    assert result.totals["scale_ins"] == 2  # one of three, for each of two models
