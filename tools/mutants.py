"""Puts faults that were found and fixed back into copies of the checkout, one at a time: a test must fail for each.

    python tools/mutants.py [WORD ...]     only the faults whose names have one of the words

The faults are in ``mutants.yaml``. Exit status 1 if a fault survives, no longer applies, or its tests fail without it.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_suffix(".yaml")
#: Of the checkout, what no test needs.
_LEFT_OUT = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", ".coverage*", "raw", "generated", "*.egg-info")
_PASSED, _FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """A fault: ``old`` in ``file`` becomes ``new``; one of ``tests``, pytest's node ids, must fail."""

    fault: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def problems(self, root: Path = ROOT) -> list[str]:
        """Why it cannot be applied and tested, as sentences."""
        found = []
        file = root / self.file
        times = file.read_text(encoding="utf-8").count(self.old) if file.is_file() else 0
        if times != 1:
            found.append(f"{self.fault}: mutant no longer applies: old is {times} times in {self.file}")
        if self.old == self.new:
            found.append(f"{self.fault}: old and new are the same")
        if not self.tests:
            found.append(f"{self.fault}: no test is named")
        return found + [f"{self.fault}: there is no test {test}" for test in self.tests if not _is_test(root, test)]

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """The fault in a copy of the checkout."""
        file = root / self.file
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")


def mutants() -> list[Mutant]:
    """The faults of ``mutants.yaml``."""
    listed = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Mutant(**{**told, "tests": tuple(told["tests"])}) for told in listed]


def _is_test(root: Path, node: str) -> bool:
    name, _, function = node.partition("[")[0].partition("::")
    file = root / name
    if not (file.is_file() and function):
        return False
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(part, ast.FunctionDef) and part.name == function for part in body)


@contextmanager
def copy_of_the_checkout() -> Iterator[Path]:
    """A copy with what lies beside it: the checkout itself is never changed."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder, "checkout")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        if (ROOT.parent / "shared").is_dir():
            Path(folder, "shared").symlink_to(ROOT.parent / "shared")
        yield copy


def run(tests: Sequence[str], copy: Path) -> tuple[int, str]:
    """Pytest's exit status in a copy of the checkout, and what it said; it stops at the first failure."""
    options = ("-n", "0", "-m", "", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=first", "--tb=line")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def main(words: Sequence[str]) -> int:
    """Try the faults; the exit status."""
    asked = [mutant for mutant in mutants() if not words or any(word in mutant.fault for word in words)]
    if problems := [problem for mutant in asked for problem in mutant.problems()]:
        print(*problems, sep="\n")
        return 1
    with copy_of_the_checkout() as copy:
        tests = list(dict.fromkeys(test for mutant in asked for test in mutant.tests))
        status, said = run(tests, copy)
        if status != _PASSED:
            print(said, "Tests fail without any fault, or there is none.", sep="\n")
            return 1
        survived = 0
        width = max(len(mutant.fault) for mutant in asked)
        print(f"{'fault':{width}}  outcome   seconds", flush=True)
        for mutant in asked:
            began = time.perf_counter()
            with mutant.applied(copy):
                status, said = run(mutant.tests, copy)
            outcome = {_PASSED: "survived", _FAILED: "killed"}.get(status, "not run")
            print(f"{mutant.fault:{width}}  {outcome:8}  {time.perf_counter() - began:7.1f}", flush=True)
            if outcome == "not run":
                print(said)
            survived += outcome != "killed"
    print(f"{len(asked) - survived} of {len(asked)} faults are found by a test.")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
