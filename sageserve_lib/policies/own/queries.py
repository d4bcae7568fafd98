"""From the metrics of inference engines, and simple Prometheus queries over them, to the simulator's signals.

Only what is certain is taken: one number, by sum, avg or max over the instances of a metric whose meaning is known. The
names are those that vLLM, SGLang and TGI document for their ``/metrics``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sageserve_lib.policies.autoscaler import Over, Signal

#: What a gauge or counter says. ``prompt`` and ``output`` are tokens since the start, of which only rates mean something.
_KNOWN = {
    "vllm_num_requests_running": "running",
    "vllm_num_requests_waiting": "waiting",
    "vllm_gpu_cache_usage_perc": "kv-usage",
    "vllm_kv_cache_usage_perc": "kv-usage",
    "vllm_prompt_tokens_total": "prompt",
    "vllm_generation_tokens_total": "output",
    "sglang_num_running_reqs": "running",
    "sglang_num_queue_reqs": "waiting",
    "sglang_token_usage": "kv-usage",
    "sglang_prompt_tokens_total": "prompt",
    "sglang_generation_tokens_total": "output",
    "tgi_queue_size": "waiting",
    "tgi_batch_current_size": "running",
}
#: What metrics added up come to.
_SIGNALS: dict[frozenset[str], Signal] = {
    frozenset({"running"}): "running",
    frozenset({"waiting"}): "waiting",
    frozenset({"running", "waiting"}): "in-progress",
    frozenset({"kv-usage"}): "kv-usage",
    frozenset({"prompt", "output"}): "tps",
}
_COUNTERS = {"prompt", "output"}
_OVERS: dict[str, Over] = {"sum": "sum", "avg": "mean", "max": "max"}
#: Labels that choose a service's instances, all of them.
_SCOPES = {
    "app", "cluster", "container", "deployment", "endpoint", "engine", "exported_namespace", "job", "kubernetes_namespace",
    "model", "model_name", "namespace", "release", "service",
}  # fmt: skip
_MODELS = {"model", "model_name"}

_TOKEN = re.compile(r'\s*([A-Za-z_:][\w:]*|\{(?:[^"}]|"[^"]*")*\}|\[[^\]]*\]|\d+(?:\.\d+)?|[()+*/,])')
_LABEL = re.compile(r'\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*("[^"]*"|\'[^\']*\')\s*(?:,|$)')


class UnknownQueryError(ValueError):
    """A query, or a metric's name, whose meaning is not known; the text says what of it."""


@dataclass(frozen=True)
class Query:
    """A number that a query gives: a signal over instances, times ``factor``.

    ``models`` are names the query selects by; ``window`` the one it takes rates over, as written.
    """

    signal: Signal
    over: Over
    factor: float = 1.0
    models: tuple[str, ...] = ()
    window: str = ""


def known_metrics() -> str:
    """Names of metrics that are known, for messages."""
    return ", ".join(name.replace("_", ":", 1) if name[:4] != "tgi_" else name for name in _KNOWN)


def signal_named(name: str) -> Signal:
    """The signal that a metric of that name gives for one instance, as adapters to Kubernetes write it.

    Raises
    ------
    UnknownQueryError
        If it is not known, or no signal by itself.

    Examples
    --------
    >>> signal_named("vllm:num_requests_waiting"), signal_named("prometheus.googleapis.com|tgi_queue_size|gauge")
    ('waiting', 'waiting')
    """
    parts = name.split("|")
    found = _known(parts[1] if len(parts) == 3 else name)
    if found in _COUNTERS:
        msg = f"{name!r} counts tokens since the start, and only of one kind: no signal"
        raise UnknownQueryError(msg)
    return _SIGNALS[frozenset({found})]


def read_query(text: str) -> Query:
    """What a Prometheus query asks for.

    Raises
    ------
    UnknownQueryError
        If that is not certain.

    Examples
    --------
    >>> read_query('sum(vllm:num_requests_running{namespace="a"}) + sum(vllm:num_requests_waiting)').signal
    'in-progress'
    >>> read_query("avg(sglang:token_usage) * 100")
    Query(signal='kv-usage', over='mean', factor=100.0, models=(), window='')
    """
    parser = _Parser(re.sub(r"\s+or\s+(on\s*\(\s*\)\s*)?vector\s*\(\s*0\s*\)\s*$", "", text.strip()))
    terms, factor = parser.whole()
    overs = {over for over, _ in terms}
    names = [name for _, items in terms for name in items]
    if len(overs) != 1 or (len(terms) > 1 and overs == {"max"}):
        msg = "what it adds up is not summed in the same way"
        raise UnknownQueryError(msg)
    meanings = frozenset(map(_known, names))
    if len(meanings) != len(names) or meanings not in _SIGNALS:
        msg = f"{' + '.join(names)} is no signal of the simulator"
        if meanings <= _COUNTERS:
            msg += ", which sees prompt and output tokens together: add the rate of the other"
        raise UnknownQueryError(msg)
    signal, over = _SIGNALS[meanings], overs.pop()
    if bool(parser.windows) != (signal == "tps") or len(parser.windows) > 1:
        msg = "rates are of token counters, all over the same time, and other metrics are taken as they are"
        raise UnknownQueryError(msg)
    if signal == "tps" and over == "max":
        msg = "the largest TPS of an instance is no signal of the simulator"
        raise UnknownQueryError(msg)
    return Query(signal, over, factor, tuple(parser.models), "".join(parser.windows))


def _known(name: str) -> str:
    found = _KNOWN.get(name.replace(":", "_", 1))
    if found is None:
        msg = f"the metric {name!r} is not known"
        raise UnknownQueryError(msg)
    return found


class _Parser:
    """Reads the few forms of a query that are certain."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.models: list[str] = []
        self.windows: set[str] = set()

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.next
        if expected and token not in expected:
            msg = f"{' or '.join(map(repr, expected))} expected, and there is {token or 'its end'!r}"
            raise UnknownQueryError(msg)
        self.at += 1
        return token

    def whole(self) -> tuple[list[tuple[Over, list[str]]], float]:
        """Terms added up, and what they are multiplied by."""
        grouped = self.next == "("
        if grouped:
            self.take("(")
        terms = [self.term()]
        while self.next == "+":
            self.take("+")
            terms.append(self.term())
        if grouped:
            self.take(")")
        factor = 1.0
        if self.next in ("*", "/"):
            if len(terms) > 1 and not grouped:
                msg = "only part of it is multiplied"
                raise UnknownQueryError(msg)
            sign = self.take()
            try:
                number = float(self.take())
            except ValueError as error:
                msg = f"a number expected after {sign!r}"
                raise UnknownQueryError(msg) from error
            if not number > 0:
                msg = f"a number above 0 expected after {sign!r}"
                raise UnknownQueryError(msg)
            factor = number if sign == "*" else 1.0 / number
        self.take("")
        return terms, factor

    def term(self) -> tuple[Over, list[str]]:
        """An aggregation over instances."""
        if self.next not in _OVERS:
            msg = f"one number over all instances is expected, as sum(...), avg(...) or max(...), and there is {self.next!r}"
            raise UnknownQueryError(msg)
        over = _OVERS[self.take()]
        self.grouping()
        self.take("(")
        items = [self.item()]
        while self.next == "+":
            self.take("+")
            items.append(self.item())
        self.take(")")
        self.grouping()
        return over, items

    def grouping(self) -> None:
        """A ``by`` clause, of labels that leave one number of a service."""
        if self.next != "by":
            return
        self.take("by")
        self.take("(")
        while self.next != ")":
            label = self.take()
            if label not in {*_SCOPES, ","}:
                msg = f"by {label!r} it gives several numbers"
                raise UnknownQueryError(msg)
        self.take(")")

    def item(self) -> str:
        """A metric, or the rate of one."""
        rated = self.next == "rate"
        if rated:
            self.take("rate")
            self.take("(")
        name = self.take()
        if not name or not (name[0].isalpha() or name[0] in "_:"):
            msg = f"the name of a metric expected, and there is {name or 'its end'!r}"
            raise UnknownQueryError(msg)
        if self.next == "(":
            msg = f"the function {name!r} is not known"
            raise UnknownQueryError(msg)
        if self.next.startswith("{"):
            self.selector(self.take())
        if rated:
            if not self.next.startswith("["):
                msg = "the time a rate is taken over is expected, as in [1m]"
                raise UnknownQueryError(msg)
            self.windows.add(self.take()[1:-1].strip())
            self.take(")")
        return name

    def selector(self, text: str) -> None:
        """Labels, which may only choose the service."""
        inside, at = text[1:-1].strip(), 0
        while at < len(inside):
            found = _LABEL.match(inside, at)
            if found is None:
                msg = f"its labels {text} are not understood"
                raise UnknownQueryError(msg)
            label, sign, value = found.groups()
            if label not in _SCOPES or sign in ("!=", "!~"):
                msg = f"the label {label!r} may leave out some of the instances"
                raise UnknownQueryError(msg)
            if label in _MODELS:
                self.models.append(value[1:-1])
            at = found.end()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if not text[at:].strip():
                return
            msg = f"it is not understood from {text[at:].strip()[:40]!r} on"
            raise UnknownQueryError(msg)
        yield found[1]
        at = found.end()
