"""Reading ServeGen's client folders: rates and patterns per client and window, tables of token counts.

A folder has two files per client: ``chunk-<client>-trace.csv``, without a header, one row per window (its start in s,
requests/s, coefficient of variation of the gaps, ``Gamma`` or ``Weibull`` or nothing when silent, shape, scale in s), and
``chunk-<client>-dataset.json``: by the second from which it holds, a table of token counts and their shares for each
field, as text (``"{62: 0.25, 70: 0.75}"``; ``"{}"`` where nothing is known). Language and reasoning models have the fields
input_tokens and output_tokens; multimodal ones text_tokens, output_tokens and, for each medium, how many there are in a
request and how many tokens one has.

Format and data: Y. Xiang et al., ServeGen, NSDI 2026 (arXiv 2505.09999), Apache-2.0.
"""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError
from sageserve_lib.traces.problems import MOST_OF_A_KIND, Kind, Problem, refuse
from sageserve_lib.traces.schema import LARGEST_TOKENS, shown

COLUMNS = ("window start", "rate", "cv", "pattern", "shape", "scale")
MEDIA = ("image", "audio", "video")
_LANGUAGE = ("input_tokens", "output_tokens")
_MULTIMODAL = ("text_tokens", "output_tokens", *(f"{name}_{part}" for name in MEDIA for part in ("count", "tokens")))
#: Of the windows, where there is a single one.
_WINDOW_S = 600.0
_LARGEST_CSV_BYTES = 1 << 24
_LARGEST_JSON_BYTES = 1 << 26
_MOST_MEDIA = 1000
_MOST_PROBLEMS = 20
_FASTEST_PER_S = 1e5
#: Smaller shapes give bursts of thousands of requests at one moment; published ones go down to 0.03 and 0.28.
_SHAPES = {"Gamma": (0.001, 1e6), "Weibull": (0.05, 1e3)}
_CLIENT = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_NUMBER = r"[-+]?\d++(?:\.\d++)?(?:[eE][-+]?\d++)?"
_ENTRY = rf"\s*+{_NUMBER}\s*+:\s*+{_NUMBER}\s*+"
_TABLE = re.compile(rf"\s*+\{{(?:{_ENTRY}(?:,{_ENTRY})*+|\s*+)\}}\s*+")


@dataclass(frozen=True)
class Tables:
    """Distributions of a whole number, one after the other.

    Attributes
    ----------
    values : array (entries,) of int32
    cumulative : array (entries,) of float64
        For an entry of table k: k plus the share of this entry and those before it in the table.
    ends : array (tables,) of int64
        Number of entries up to the end of each table.
    """

    values: np.ndarray
    cumulative: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, tables: list[tuple[np.ndarray, np.ndarray]]) -> "Tables":
        """From values and shares of each table; shares are brought to a sum of 1."""
        sums = [np.cumsum(shares) for _, shares in tables]
        cumulative = [total / total[-1] + k for k, total in enumerate(sums)]
        return cls(
            np.concatenate([values for values, _ in tables]).astype(np.int32),
            np.concatenate(cumulative),
            np.cumsum([len(values) for values, _ in tables]),
        )

    def draw(self, tables: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One value (int32) from each of ``tables``, an array of their numbers."""
        # The tables' cumulative shares rise from one to the next, so that a single search serves all of them.
        found = np.searchsorted(self.cumulative, tables + rng.random(len(tables)), side="right")
        return self.values[np.minimum(found, self.ends[tables] - 1)]

    def mixture(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and shares of the mixture of all tables by these weights."""
        number = np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))
        before = np.concatenate([[0.0], self.cumulative[:-1]])
        share = (self.cumulative - np.maximum(before, number)) * weights[number]
        values, place = np.unique(self.values, return_inverse=True)
        return values, np.bincount(place, share)


@dataclass(frozen=True)
class Clients:
    """The clients of one model.

    Attributes
    ----------
    names : tuple of str
        The clients' ids, in order.
    window_s : float
        Length of every window.
    start_s : array (windows,)
    rate_per_s : array (windows, clients)
        Requests per second; 0 where a client is silent.
    shape : array (windows, clients)
        Of the distribution of gaps; 1 where a client is silent.
    weibull : array (windows, clients) of bool
        Whether the gaps are Weibull's, else Gamma's.
    table : array (windows, clients) of int32
        Number of the tables in force.
    fields : dict of Tables
        By field; all have the same number of tables.
    notes : tuple of str
        What was taken where the folder does not say.
    """

    names: tuple[str, ...]
    window_s: float
    start_s: np.ndarray
    rate_per_s: np.ndarray
    shape: np.ndarray
    weibull: np.ndarray
    table: np.ndarray
    fields: dict[str, Tables]
    notes: tuple[str, ...]


def read_clients(folder: str | Path) -> Clients:
    """Read and check a folder of clients.

    The tables in force in a window are those with the largest start up to the window's for which every field is known.
    Before a client's first, its first is taken; for a client without any, the mixture of all others' by their requests.

    Raises
    ------
    InputError
        With the problems found, up to 20: file, row or window, column, value, and what was expected.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected one with chunk-<client>-trace.csv and -dataset.json")
    names, problems = _names(folder)
    windows: list[pd.DataFrame] = []
    tables: list[dict[float, dict[str, tuple[np.ndarray, np.ndarray]]]] = []
    fields: tuple[str, ...] = ()
    for name in names:
        try:
            windows.append(_windows(folder / f"chunk-{name}-trace.csv", windows[0] if windows else None))
        except InputError as error:
            problems += error.problems
        try:
            found, fields = _tables(folder / f"chunk-{name}-dataset.json", fields)
            tables.append(found)
        except InputError as error:
            problems += error.problems
        if len(problems) > _MOST_PROBLEMS:
            problems = [*problems[:_MOST_PROBLEMS], "... and more"]
            break
    if problems:
        raise InputError(problems)
    return _clients(folder, names, windows, tables, fields)


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """Ids of the clients in order, and what is wrong with them."""
    ids = {
        end: {file.name.removeprefix("chunk-").removesuffix(end) for file in folder.glob(f"chunk-*{end}")}
        for end in ("-trace.csv", "-dataset.json")
    }
    rates, lengths = ids.values()
    if not rates | lengths:
        raise InputError(f"{folder} has no clients; expected files chunk-<client>-trace.csv and -dataset.json")
    problems = [f"{folder} has no chunk-{name}-dataset.json beside chunk-{name}-trace.csv" for name in rates - lengths]
    problems += [f"{folder} has no chunk-{name}-trace.csv beside chunk-{name}-dataset.json" for name in lengths - rates]
    problems += [
        f"{folder}: client {name[:60]!r}; expected up to 100 letters, digits, _, . or -"
        for name in rates | lengths
        if not _CLIENT.fullmatch(name)
    ]
    names = [name for name in rates & lengths if _CLIENT.fullmatch(name)]
    names.sort(key=lambda name: (not name.isdecimal(), len(name) if name.isdecimal() else 0, name))
    return names, sorted(problems)


def _text(file: Path, largest_bytes: int) -> str:
    try:
        if file.stat().st_size > largest_bytes:
            raise InputError(f"{file.name} has {file.stat().st_size:,} bytes; expected at most {largest_bytes:,}")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name} is not UTF-8 text: {error.reason} at byte {error.start:,}") from error
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror}") from error


def _windows(file: Path, first: pd.DataFrame | None) -> pd.DataFrame:
    """Checked rows of a client's trace file: start_s, rate_per_s, shape, weibull."""
    try:
        rows = list(csv.reader(_text(file, _LARGEST_CSV_BYTES).splitlines()))
    except csv.Error as error:
        raise InputError(f"{file.name} is not CSV: {error}") from error
    if not rows:
        raise InputError(f"{file.name} is empty; expected rows of {', '.join(COLUMNS)}")
    odd = [number for number, row in enumerate(rows, 1) if len(row) != len(COLUMNS)]
    if odd:
        raise InputError(
            f"{file.name}, row {odd[0]:,}: it has {len(rows[odd[0] - 1])} fields; expected {len(COLUMNS)} "
            f"({', '.join(COLUMNS)})"
        )
    text = pd.DataFrame(rows, columns=list(COLUMNS)).apply(lambda column: column.str.strip())
    number = {name: pd.to_numeric(text[name], errors="coerce").to_numpy(float) for name in COLUMNS if name != "pattern"}
    wrong: list[Kind] = []

    def expect(name: str, good: np.ndarray, kind: str, expected: str) -> None:
        places = np.flatnonzero(~good)
        values = [(int(place) + 1, shown(text[name].iloc[place])) for place in places[:MOST_OF_A_KIND]]
        first = [Problem(file.name, row, None, name, value, expected) for row, value in values]
        wrong.append(Kind(name, kind, len(places), first))

    start, rate = number["window start"], number["rate"]
    whole = np.isfinite(start) & (start >= 0) & (start == np.floor(start))
    expect("window start", whole, "it is no whole number", "a whole number of seconds, 0 or more")
    steps = np.diff(start)
    forward, times = np.unique(steps[steps > 0], return_counts=True)
    step = forward[times.argmax()] if len(forward) else _WINDOW_S
    even = np.concatenate([[True], (steps == step) | ~whole[1:] | ~whole[:-1]])
    expect("window start", even, "the step is another", f"windows one after the other, {step:g} s each")
    expect(
        "rate",
        np.isfinite(rate) & (rate >= 0) & (rate <= _FASTEST_PER_S),
        "it is no rate",
        f"requests per second, from 0 to {_FASTEST_PER_S:,.0f}",
    )
    for name in ("cv", "scale"):
        expect(name, np.isfinite(number[name]) & (number[name] >= 0), "it is no number", "a number, 0 or more")
    pattern = text["pattern"].to_numpy()
    silent = (pattern == "") & (rate == 0)
    expect("pattern", np.isin(pattern, [*_SHAPES, ""]), "it is unknown", "Gamma, Weibull, or nothing when silent")
    expect("pattern", (pattern != "") | ~(rate > 0), "there is a rate", "Gamma or Weibull where there is a rate")
    for name, (low, high) in _SHAPES.items():
        good = (number["shape"] >= low) & (number["shape"] <= high)
        expect(
            "shape", good | (pattern != name), f"it is no shape of {name}", f"for {name}, from {low:g} to {high:,.0f}"
        )
    refuse(file.name, wrong)
    if first is not None and not np.array_equal(start, first["start_s"]):
        raise InputError(
            f"{file.name} has {len(start):,} windows from {start[0]:g} to {start[-1]:g} s; expected those of the first "
            f"client, {len(first):,} from {first['start_s'].iloc[0]:g} to {first['start_s'].iloc[-1]:g} s"
        )
    shape = np.where(silent, 1.0, number["shape"])
    return pd.DataFrame({"start_s": start, "rate_per_s": rate, "shape": shape, "weibull": pattern == "Weibull"})


def _tables(
    file: Path, fields: tuple[str, ...]
) -> tuple[dict[float, dict[str, tuple[np.ndarray, np.ndarray]]], tuple[str, ...]]:
    """Values and shares by start and field, where all fields are known; and the fields (taken from the first file)."""
    try:
        raw = json.loads(_text(file, _LARGEST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file.name} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{file.name} holds {type(raw).__name__}; expected an object with a window for each start")
    problems = []
    found = {}
    for start, given in raw.items():
        where = f"{file.name}, window {start[:60]!r}"
        if not re.fullmatch(r"\d{1,12}", start, re.ASCII):
            problems.append(f"{where}; expected its start as a whole number of seconds")
            continue
        if not isinstance(given, dict):
            problems.append(f"{where}: {str(given)[:60]!r}; expected an object with tables by field")
            continue
        fields = fields or (_MULTIMODAL if "text_tokens" in given else _LANGUAGE)
        tables = {}
        for name in fields:
            largest = _MOST_MEDIA if name.endswith("_count") else LARGEST_TOKENS
            try:
                tables[name] = _table(given.get(name), largest)
            except ValueError as error:
                problems.append(f"{where}, {name}: {error}")
        if len(tables) == len(fields) and all(len(values) for values, _ in tables.values()):
            found[float(start)] = tables
    if problems:
        raise InputError(problems)
    return dict(sorted(found.items())), fields


def _table(text: Any, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and shares of a table's text, read as numbers and nothing else; ValueError says what is wrong."""
    if not isinstance(text, str) or not _TABLE.fullmatch(text):
        shown = "nothing" if text is None else repr(str(text)[:60])
        if isinstance(text, str) and re.fullmatch(r"\s*\{.*\}\s*", text, re.DOTALL):
            entries = text.strip()[1:-1].split(",")
            shown = next((repr(entry.strip()[:60]) for entry in entries if not re.fullmatch(_ENTRY, entry)), shown)
        msg = f"{shown}; expected text such as {{62: 0.25, 70: 0.75}}, counts and their shares"
        raise ValueError(msg)
    inner = text.strip()[1:-1].replace(":", ",")
    numbers = np.fromstring(inner, sep=",") if inner.strip() else np.empty(0)
    values, shares = numbers[0::2], numbers[1::2]
    odd = (values != np.floor(values)) | (values < 0) | (values > largest)
    if odd.any():
        msg = f"count {values[odd][0]:.12g}; expected a whole number from 0 to {largest:,}"
        raise ValueError(msg)
    wrong = ~((shares >= 0) & (shares <= 1 + 1e-6))
    if wrong.any():
        msg = f"share {shares[wrong][0]:.12g} of count {values[wrong][0]:.0f}; expected a number from 0 to 1"
        raise ValueError(msg)
    unique, times = np.unique(values, return_counts=True)
    if len(unique) < len(values):
        msg = f"count {unique[times > 1][0]:.0f} is there twice; expected each once"
        raise ValueError(msg)
    if len(values) and abs(shares.sum() - 1) > 1e-3:
        msg = f"its shares sum to {shares.sum():.6g}; expected 1"
        raise ValueError(msg)
    return values.astype(np.int32), shares


def _clients(
    folder: Path,
    names: list[str],
    windows: list[pd.DataFrame],
    tables: list[dict[float, dict[str, tuple[np.ndarray, np.ndarray]]]],
    fields: tuple[str, ...],
) -> Clients:
    start = windows[0]["start_s"].to_numpy()
    step = float(start[1] - start[0]) if len(start) > 1 else _WINDOW_S
    rate, shape, weibull = (
        np.stack([client[name].to_numpy() for client in windows], axis=1) for name in ("rate_per_s", "shape", "weibull")
    )
    table = np.full(rate.shape, -1, dtype=np.int32)
    later = np.zeros(rate.shape, dtype=bool)
    flat: list[dict[str, tuple[np.ndarray, np.ndarray]]] = []
    for client, known in enumerate(tables):
        if known:
            place = np.searchsorted(list(known), start, side="right") - 1
            later[:, client] = place < 0
            table[:, client] = np.maximum(place, 0) + len(flat)
            flat += known.values()
    if not flat:
        raise InputError(f"{folder}: no client has token counts; expected some in its -dataset.json files")
    by_field = {name: Tables.of([known[name] for known in flat]) for name in fields}
    none = table < 0
    if (rate[none] > 0).any():
        weights = np.bincount(table[~none], rate[~none], minlength=len(flat))
        mixture = {name: by_field[name].mixture(weights if weights.any() else weights + 1) for name in fields}
        by_field = {name: Tables.of([*(known[name] for known in flat), mixture[name]]) for name in fields}
    table[none] = len(flat)
    notes = _notes(fields, by_field, rate, later, none, step)
    return Clients(tuple(names), step, start, rate, shape, weibull, table, by_field, notes)


def _notes(
    fields: tuple[str, ...],
    tables: dict[str, Tables],
    rate: np.ndarray,
    later: np.ndarray,
    none: np.ndarray,
    step: float,
) -> tuple[str, ...]:
    def share(where: np.ndarray) -> str:
        return f"{100 * rate[where].sum() / rate.sum():.2g} % of the requests"

    notes = [
        "Requests are drawn, not recorded: in every window of "
        f"{step:g} s a client's gaps follow the published pattern and shape, at the published rate on average.",
        "Prompt and output lengths are published apart and drawn independently of each other.",
        "ServeGen does not say on which day its first window is.",
    ]
    if (rate[later] > 0).any():
        notes.append(f"Before a client's first known lengths, its first ones are taken ({share(later)}).")
    if (rate[none] > 0).any():
        notes.append(f"For clients whose lengths are not known, the mixture of all others' is taken ({share(none)}).")
    if "text_tokens" in fields:
        notes.append("Prompt tokens are those of the text and of every image, audio and video, drawn one by one.")
    if any((tables[name].values == 0).any() for name in _LANGUAGE if name in tables):
        notes.append("Lengths of 0 tokens are taken as 1.")
    return tuple(notes)
