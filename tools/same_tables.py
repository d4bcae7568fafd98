"""Whether a run's tables are those of an earlier one: ``python tools/same_tables.py OLD NEW``, two run directories.

Every table of OLD must be in NEW, cell by cell the same text. NEW may have further tables, further columns after the old ones,
and rows of policies and baselines that the old table does not have, but no other rows. What differs from one run to the next by nature, ``timings``, is left out.
Exit status: 0 the same, 1 something differs, 2 there is nothing to compare.
"""

import csv
import sys
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

LEFT_OUT = {"timings"}
MOST_LINES = 20


def tables_of(run: Path) -> dict[str, Path]:
    """A run's tables by name."""
    return {file.stem: file for file in sorted((run / "tables").glob("*.csv")) if file.stem not in LEFT_OUT}


def table_differences(name: str, old: Path, new: Path) -> Iterator[str]:
    """A line for each difference in one table."""
    with old.open(encoding="utf-8", newline="") as before, new.open(encoding="utf-8", newline="") as after:
        was, now = csv.reader(before), csv.reader(after)
        columns, columns_now = next(was, []), next(now, [])
        if columns_now[: len(columns)] != columns:
            yield f"{name}: columns: {', '.join(columns)} -> {', '.join(columns_now)}"
            return
        rows = list(was)
        of = [k for k, column in enumerate(columns) if column in ("policy", "baseline")]
        known = [{row[k] for row in rows} for k in of]
        mine = (row for row in now if all(row[k] in names for k, names in zip(of, known, strict=True)))
        for number, (row, other) in enumerate(zip_longest(rows, mine), start=1):
            if row is None or other is None:
                yield f"{name}: row {number}: only in the {'new' if row is None else 'old'} table; so are any after it"
                return
            if len(other) != len(columns_now):
                yield f"{name}: row {number}: {len(other)} cells in {len(columns_now)} columns"
            for column, cell, cell_now in zip_longest(columns, row, other[: len(columns)], fillvalue=""):
                if cell != cell_now:
                    yield f"{name}: row {number}: {column}: {cell!r} -> {cell_now!r}"


def differences(old: dict[str, Path], new: dict[str, Path]) -> Iterator[str]:
    """A line for each difference between two runs."""
    for name, file in old.items():
        if name in new:
            yield from table_differences(name, file, new[name])
        else:
            yield f"{name}: not in the new run"


def main(arguments: list[str]) -> int:
    """Compare, tell, and give the exit status."""
    if len(arguments) != 2:
        sys.stderr.write("Usage: python tools/same_tables.py OLD NEW\n")
        return 2
    old, new = (tables_of(Path(run)) for run in arguments)
    for run, found in zip(arguments, (old, new), strict=True):
        if not found:
            sys.stderr.write(f"{run} has no tables: a run directory with tables/*.csv was expected.\n")
            return 2
    for name in sorted(new.keys() - old.keys()):
        sys.stdout.write(f"{name}: new\n")
    found = list(islice(differences(old, new), MOST_LINES))
    sys.stdout.writelines(f"{line}\n" for line in found)
    if found:
        return 1
    sys.stdout.write(f"{len(old)} tables are the same\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
