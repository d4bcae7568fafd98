"""What the columns of a trace file mean: the canonical format, public traces, and a user's own names.

A format is a small class, found by the columns that it needs; another is one more class in ``FORMATS``.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from sageserve_lib.traces.readers.clocks import Clock, Numbers, Timestamps, clock_of
from sageserve_lib.traces.readers.columns import Columns
from sageserve_lib.traces.readers.options import TIME_UNITS, Reading
from sageserve_lib.traces.schema import COLUMNS, TEXT, Check

#: Columns that may be missing, to be taken from options.
FILLABLE = ("region", "model", "tier")
#: Codes of shape (rows,), -1 for nothing, and the labels they stand for.
Labels = tuple[np.ndarray, list[str]]


@dataclass
class Requests:
    """One batch of requests: arrays of shape (rows,), ``good`` where a row can be used."""

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    good: np.ndarray
    labels: dict[str, Labels] = field(default_factory=dict)


class Format(ABC):
    """Reads one file; an instance keeps what it has seen of it.

    ``columns`` must be there. Of the canonical text columns those in ``text`` are read, where the file has them, by its
    own names of them; those in ``makes`` come with the requests.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    columns: Sequence[str]
    text: Mapping[str, str] = {name: name for name in TEXT}
    makes: ClassVar[tuple[str, ...]] = ()
    clock: Clock

    def __init__(self, reading: Reading) -> None:  # noqa: B027
        """Begin a file, as the user's options say."""

    @abstractmethod
    def requests(self, columns: Columns, check: Check) -> Requests:
        """The requests of the next batch of rows; what is wrong goes to ``check``."""

    def notes(self, file: str) -> list[str]:
        """What was assumed or changed, once all is read."""
        return [f"{file} is in {self.title}.", *self.clock.notes(file)]


class Canonical(Format):
    """The schema of this project."""

    name = "canonical"
    title = "the canonical format"
    columns = tuple(name for name in COLUMNS if name not in FILLABLE)

    def __init__(self, reading: Reading, start: pd.Timestamp | None = None) -> None:
        """``start`` is the moment of zero, where the file tells it."""
        self.clock = Numbers() if start is None else Numbers(start=start, told=True)

    def requests(self, columns: Columns, check: Check) -> Requests:
        """Rows as they are, which have to be in order of time."""
        seconds = columns.numbers("arrival_s")
        good = check.seconds("arrival_s", seconds, columns.value("arrival_s"))
        check.order("arrival_s", seconds, np.isfinite(seconds))
        prompt, prompt_good, _ = columns.tokens("prompt_tokens")
        output, output_good, _ = columns.tokens("output_tokens")
        return Requests(seconds, prompt, output, good & prompt_good & output_good)

    def notes(self, file: str) -> list[str]:
        """Only where zero is."""
        return self.clock.notes(file)


class _Public(Format):
    """A public trace: one column of times, two of tokens, where 0 tokens are taken as 1."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._zeros = {name: 0 for name in self.columns[1:3]}
        self._rows = 0

    def requests(self, columns: Columns, check: Check) -> Requests:
        """Times and tokens, by the first three names of ``columns``."""
        time, *names = self.columns[:3]
        seconds, good = self.clock.arrivals(columns, time, check)
        tokens = []
        for name in names:
            number, right, zeros = columns.tokens(name, zero_is_one=True)
            self._zeros[name] += zeros
            good = good & right
            tokens.append(number)
        self._rows += len(columns)
        return Requests(seconds, tokens[0], tokens[1], good)

    def notes(self, file: str) -> list[str]:
        """Also how many requests had no tokens."""
        mended = [
            f"Requests with 0 {name} are taken to have 1: {count:,} of {self._rows:,}."
            for name, count in self._zeros.items()
            if count
        ]
        return [*super().notes(file), *mended]


class Azure(_Public):
    """AzurePublicDataset's LLM inference traces of 2023 and 2024."""

    name = "azure"
    title = "Azure's public format"
    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

    def __init__(self, reading: Reading) -> None:
        super().__init__(Timestamps())


class Mooncake(_Public):
    """Mooncake's traces (FAST'25): JSON lines, times in milliseconds."""

    name = "mooncake"
    title = "Mooncake's public format"
    columns = ("timestamp", "input_length", "output_length")

    def __init__(self, reading: Reading) -> None:
        super().__init__(Numbers(per_s=1e3))


class BurstGpt(_Public):
    """BurstGPT 1 to 3: seconds since midnight, UTC+8, of a first day that is not told; no response is a failure."""

    name = "burstgpt"
    title = "BurstGPT's public format"
    columns = ("Timestamp", "Request tokens", "Response tokens", "Model", "Log Type")
    text: Mapping[str, str] = {"model": "Model", "app": "Log Type"}

    def __init__(self, reading: Reading) -> None:
        super().__init__(Numbers(start=pd.Timestamp("2026-06-01T00:00:00+08:00"), whole_days=True))
        self._failed = 0

    def requests(self, columns: Columns, check: Check) -> Requests:
        """Without those that failed."""
        found = super().requests(columns, check)
        failed = columns.numbers("Response tokens") == 0
        self._failed += int(failed.sum())
        self._zeros["Response tokens"] = 0
        found.good &= ~failed
        return found

    def notes(self, file: str) -> list[str]:
        """Also how many failed."""
        failed = (
            [f"Requests without response tokens failed and are left out: {self._failed:,}."] if self._failed else []
        )
        return [*super().notes(file), *failed]


class SageServe(_Public):
    """The trace format of the simulator published with SageServe.

    ``regions`` is an order of preference in digits, which its controller numbers; ``workload_type`` is prod for
    interactive requests, whose tier is the default one since the file does not tell IW-F from IW-N, and dev for NIW.
    """

    name = "sageserve"
    title = "the format of SageServe's published simulator"
    columns = ("arrival_timestamp", "prompt_size", "token_size", "regions", "model_type", "workload_type")
    text: Mapping[str, str] = {"app": "application_id"}
    makes = ("region", "model", "tier", "region_preference")
    _regions = ("westus", "centralus", "eastus")
    _models = ("BLOOM-176B", "Llama-2-70B", "Llama-3.1-8B", "Llama-3.2-3B")

    def __init__(self, reading: Reading) -> None:
        super().__init__(Numbers())
        self._tiers = {"prod": reading.default("tier"), "dev": "NIW"}

    def requests(self, columns: Columns, check: Check) -> Requests:
        """With region, preference, model and tier from the file's own labels."""
        found = super().requests(columns, check)
        codes, orders = columns.labels("regions")
        known = [bool(re.fullmatch("[0-2]+", text)) and len(set(text)) == len(text) for text in orders]
        self._refuse(columns, check, "regions", codes, known, "digits from 0 to 2, each once, such as 120")
        names = [
            [self._regions[int(digit)] for digit in text] if ok else ["?"]
            for text, ok in zip(orders, known, strict=True)
        ]
        found.labels["region"] = codes, [order[0] for order in names]
        found.labels["region_preference"] = codes, [">".join(order) for order in names]
        codes, kinds = columns.labels("workload_type")
        known = [kind in self._tiers for kind in kinds]
        self._refuse(columns, check, "workload_type", codes, known, "prod (interactive) or dev (batch)")
        found.labels["tier"] = codes, [self._tiers.get(kind, "NIW") for kind in kinds]
        codes, models = columns.labels("model_type")
        plain = {_letters(name): name for name in self._models}
        found.labels["model"] = codes, [plain.get(_letters(name), name) for name in models]
        return found

    def _refuse(
        self, columns: Columns, check: Check, name: str, codes: np.ndarray, known: list[bool], expected: str
    ) -> None:
        bad = ~np.array([*known, False])[codes]
        check.report(name, bad, "it is not known", expected, columns.value(name))

    def notes(self, file: str) -> list[str]:
        """Also what stands for what."""
        regions = ", ".join(f"{k} as {name}" for k, name in enumerate(self._regions))
        told = f"Its regions are taken as the artefact numbers them ({regions}), prod as {self._tiers['prod']}, dev as NIW."
        return [*super().notes(file), told]


class Mapped(Format):
    """Any file whose names of columns the user has told."""

    name = "mapped"
    title = "columns named by option --map"

    def __init__(self, names: Mapping[str, str]) -> None:
        """``names`` holds the file's names by canonical name, with one of ``TIME_UNITS`` for the times."""
        self._unit = next(name for name in TIME_UNITS if name in names)
        self._names = {("arrival_s" if name == self._unit else name): theirs for name, theirs in names.items()}
        self.columns = tuple(self._names.values())
        self.text = {name: theirs for name, theirs in self._names.items() if name in TEXT}

    def requests(self, columns: Columns, check: Check) -> Requests:
        """Rows as they are, in any order of time."""
        time, prompt, output = (self._names[name] for name in Canonical.columns)
        if not hasattr(self, "clock"):
            self.clock = clock_of(columns, time, TIME_UNITS[self._unit])
        seconds, good = self.clock.arrivals(columns, time, check)
        prompt_tokens, prompt_good, _ = columns.tokens(prompt)
        output_tokens, output_good, _ = columns.tokens(output)
        return Requests(seconds, prompt_tokens, output_tokens, good & prompt_good & output_good)

    def notes(self, file: str) -> list[str]:
        """Where zero is."""
        named = ", ".join(f"{theirs} as {name}" for name, theirs in self._names.items() if theirs != name)
        return [
            *([f"Columns of {file} are read as option --map says: {named}."] if named else []),
            *self.clock.notes(file),
        ]


def _letters(name: str) -> str:
    """A model's name without punctuation and case.

    >>> _letters("llama2-70b") == _letters("Llama-2-70B")
    True
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


#: Formats that are recognized by their columns, the first that fits; each is made from the user's options.
FORMATS: tuple[type[Format], ...] = (Canonical, Azure, Mooncake, BurstGpt, SageServe)
