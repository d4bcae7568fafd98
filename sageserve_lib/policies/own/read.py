"""A file of autoscalers, each as what the simulator's is told."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sageserve_lib.catalogue.autoscaling import CronFloor
from sageserve_lib.common.yaml_files import parse_yaml, text_of, validated
from sageserve_lib.common.yaml_files import told as problem_of
from sageserve_lib.errors import InputError
from sageserve_lib.policies.autoscaler import IN, OUT, Autoscaler, Behavior, Kind, Limit, Metric, ToZero
from sageserve_lib.policies.own import manifests
from sageserve_lib.policies.own.queries import UnknownQueryError, known_metrics, read_query, signal_named

_KINDS: dict[str, type[manifests.Hpa] | type[manifests.ScaledObject]] = {
    "HorizontalPodAutoscaler": manifests.Hpa,
    "ScaledObject": manifests.ScaledObject,
}
#: Of processors and memory, which the simulator does not have.
_OF_MACHINES = {"Resource", "ContainerResource", "cpu", "memory"}
_REGION_LABELS = ("topology.kubernetes.io/region", "region")
_MOST_METRICS = 8
_PAUSED = "autoscaling.keda.sh/paused"


@dataclass(frozen=True)
class Told:
    """One object of a file: what it is told, and what says whom it scales.

    ``names`` are of the object, its target, its labels and the models in its queries; ``region`` is empty for any.
    ``notes`` say what of it is left out.
    """

    origin: str
    autoscaler: Autoscaler
    cron: tuple[CronFloor, ...]
    names: tuple[str, ...]
    region: str
    notes: tuple[str, ...]


def read_autoscalers(file: Path) -> tuple[Told, ...]:
    """The autoscalers in a YAML file; objects of other kinds beside them are passed over.

    Raises
    ------
    InputError
        With everything that cannot be read, or whose meaning is not known: by file, object, field and query.
    """
    found: list[Told] = []
    problems: list[str] = []
    for raw in _objects(file):
        kind = raw.get("kind") if isinstance(raw, dict) else None
        if kind not in _KINDS:
            continue
        metadata = raw.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        try:
            origin = f"{file.name}, {kind} {name}"
            found.append(_told(validated(_KINDS[kind], raw, origin), origin))
        except InputError as error:
            problems += error.problems
    if not (found or problems):
        problems.append(f"{file} has no autoscaler: expected a {' or '.join(_KINDS)}, as in kubectl get hpa -o yaml")
    if problems:
        raise InputError(problems)
    return tuple(found)


def _objects(file: Path) -> Iterator[Any]:
    """Documents of a file, and what is in lists of objects."""
    for text in re.split(r"(?m)^---(?:[ \t].*)?$", text_of(file)):
        try:
            document = parse_yaml(text)
        except yaml.YAMLError as error:
            raise InputError(f"{file} is not YAML: {problem_of(error)}") from error
        if isinstance(document, dict) and isinstance(document.get("items"), list):
            yield from document["items"]
        else:
            yield document


class _Reading:
    """What is found while an object is gone through."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.metrics: list[Metric] = []
        self.cron: list[CronFloor] = []
        self.names: list[str] = []
        self.notes: list[str] = []
        self.problems: list[str] = []

    def refuse(self, field: str, why: str) -> None:
        self.problems.append(f"{self.origin}: {field}: {why}")

    def of_machines(self, field: str, what: str) -> None:
        self.notes.append(f"{self.origin}: {field} ({what}) is left out: the simulator has no processors to measure.")

    def unknown(self, field: str, what: str, error: UnknownQueryError) -> None:
        self.refuse(
            field,
            f"{what!r} is no signal of the simulator for certain: {error}. Known are {known_metrics()}; in a query "
            "sum, avg or max of one of them, running and waiting requests added up, or rates of prompt and output tokens",
        )


def _told(found: manifests.Hpa | manifests.ScaledObject, origin: str) -> Told:
    reading = _Reading(origin)
    own = _of_hpa(found.spec, reading) if isinstance(found, manifests.Hpa) else _of_keda(found, reading)
    if not (reading.metrics or reading.cron or reading.problems):
        field = "spec.metrics" if isinstance(found, manifests.Hpa) else "spec.triggers"
        left = [note.removeprefix(f"{origin}: ") for note in reading.notes] or [
            "there is none, which stands for 80 % of CPU"
        ]
        reading.refuse(field, f"no metric is left: {' '.join(left)}")
    if len(reading.metrics) > _MOST_METRICS:
        reading.refuse("spec", f"it has {len(reading.metrics)} metrics; expected at most {_MOST_METRICS}")
    if own.fewest > own.most:
        reading.refuse("spec", f"it keeps at least {own.fewest} instances, and at most {own.most}")
    if reading.problems:
        raise InputError(reading.problems)
    metadata, target = found.metadata, found.spec.scaleTargetRef
    region = next((metadata.labels[label] for label in _REGION_LABELS if label in metadata.labels), "")
    return Told(
        origin=origin,
        autoscaler=replace(own, metrics=tuple(reading.metrics)),
        cron=tuple(reading.cron),
        names=(metadata.name, target.name, *metadata.labels.values(), *reading.names),
        region=region,
        notes=tuple(reading.notes),
    )


def _of_hpa(spec: manifests.HpaSpec, reading: _Reading) -> Autoscaler:
    for k, metric in enumerate(spec.metrics):
        field = f"spec.metrics[{k}]"
        if metric.type in _OF_MACHINES:
            resource = metric.resource or metric.containerResource or {}
            reading.of_machines(field, f"{metric.type} {resource.get('name', '')}".strip())
            continue
        source = {"Pods": metric.pods, "External": metric.external}.get(metric.type)
        if source is None:
            what = (
                "what it describes is not known"
                if metric.type == "Object"
                else f"its part {metric.type.lower()!r} is missing"
            )
            reading.refuse(field, f"type {metric.type}: {what}; expected a metric of type Pods or External")
            continue
        kind: Kind = "pods" if metric.type == "Pods" else "average" if source.target.type == "AverageValue" else "value"
        target = source.target.value if kind == "value" else source.target.averageValue
        if not target or source.target.type == "Utilization":
            expected = (
                "averageValue above 0" if metric.type == "Pods" else "value or averageValue above 0, as its type says"
            )
            reading.refuse(f"{field}.target", f"expected {expected}")
            continue
        try:
            signal = signal_named(source.metric.name)
        except UnknownQueryError as error:
            reading.unknown(f"{field}.metric.name", source.metric.name, error)
        else:
            reading.metrics.append(Metric(signal, target, kind))
    out, back = (
        _behavior(rules, usual) for rules, usual in ((spec.behavior.scaleUp, OUT), (spec.behavior.scaleDown, IN))
    )
    return Autoscaler((), spec.maxReplicas, spec.minReplicas, out=out, back=back)


def _of_keda(found: manifests.ScaledObject, reading: _Reading) -> Autoscaler:
    spec = found.spec
    for name in found.metadata.annotations:
        if name.startswith(_PAUSED):
            reading.refuse(f"metadata.annotations.{name}", "a ScaledObject that is paused scales nothing")
    if spec.advanced.scalingModifiers:
        reading.refuse("spec.advanced.scalingModifiers", "a formula over triggers is not known to the simulator")
    for k, trigger in enumerate(spec.triggers):
        _of_trigger(trigger, f"spec.triggers[{k}]", reading)
    behavior = spec.advanced.horizontalPodAutoscalerConfig.behavior
    to_none = spec.minReplicaCount == 0 or spec.idleReplicaCount == 0
    return Autoscaler(
        metrics=(),
        most=spec.maxReplicaCount,
        fewest=spec.minReplicaCount,
        out=_behavior(behavior.scaleUp, OUT),
        back=_behavior(behavior.scaleDown, IN),
        to_zero=ToZero(spec.pollingInterval, spec.cooldownPeriod) if to_none else None,
    )


def _of_trigger(trigger: manifests.Trigger, field: str, reading: _Reading) -> None:
    origin = f"{reading.origin}: {field}.metadata"
    if trigger.type in _OF_MACHINES:
        reading.of_machines(field, trigger.type)
    elif trigger.type == "cron":
        try:
            cron = validated(manifests.CronTrigger, trigger.metadata, origin)
            window = {
                "start": cron.start,
                "end": cron.end,
                "timezone": cron.timezone,
                "instances": cron.desiredReplicas,
            }
            reading.cron.append(validated(CronFloor, window, origin))
        except InputError as error:
            reading.problems += error.problems
    elif trigger.type == "prometheus":
        try:
            _of_prometheus(trigger, validated(manifests.Prometheus, trigger.metadata, origin), field, reading)
        except InputError as error:
            reading.problems += error.problems
    else:
        reading.refuse(
            f"{field}.type", f"a {trigger.type!r} trigger is not known to the simulator; prometheus and cron are"
        )


def _of_prometheus(trigger: manifests.Trigger, told: manifests.Prometheus, field: str, reading: _Reading) -> None:
    if trigger.metricType == "Utilization" or not told.threshold > 0:
        reading.refuse(field, "expected metricType AverageValue or Value, and a threshold above 0")
        return
    try:
        query = read_query(told.query)
    except UnknownQueryError as error:
        reading.unknown(f"{field}.metadata.query", told.query, error)
        return
    kind: Kind = "average" if trigger.metricType == "AverageValue" else "value"
    target, activation = told.threshold / query.factor, told.activationThreshold / query.factor
    reading.metrics.append(Metric(query.signal, target, kind, query.over, activation))
    reading.names += query.models
    if query.window:
        reading.notes.append(
            f"{reading.origin}: {field}: tokens per second are taken over the scenario's scaling.load_window_s, "
            f"not over the query's {query.window}."
        )
    if kind == "average" and query.over != "sum":
        reading.notes.append(
            f"{reading.origin}: {field}: with metricType AverageValue KEDA divides what the query gives, already one instance's "
            "number, by the instances again; it is followed as it is. Value, or sum(...), is what is usually meant."
        )


def _behavior(rules: manifests.Rules, usual: Behavior) -> Behavior:
    """A direction's behaviour, with Kubernetes' where the file has none."""
    window_s, policies = rules.stabilizationWindowSeconds, rules.policies
    return Behavior(
        window_s=usual.window_s if window_s is None else window_s,
        limits=usual.limits
        if policies is None
        else tuple(Limit("instances" if p.type == "Pods" else "percent", p.value, p.periodSeconds) for p in policies),
        select={"Max": "max", "Min": "min", "Disabled": "disabled"}[rules.selectPolicy],  # type: ignore[arg-type]
        tolerance=usual.tolerance if rules.tolerance is None else rules.tolerance,
    )
