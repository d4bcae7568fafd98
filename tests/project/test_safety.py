"""What the library must not do, read from its source: run text as code, unpickle, start shells, guess encodings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sageserve_lib import paths

SOURCES = sorted([*paths.CODE.rglob("*.py"), *(paths.ROOT / "tools").glob("*.py")])
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "code", "codeop", "fcntl", "pwd"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "pd.read_pickle", "np.load", "joblib.load", "subprocess.getoutput", "tempfile.mktemp", "os.fork",
}  # fmt: skip
TEXT_FILES = {"open", "read_text", "write_text", "NamedTemporaryFile", "FileHandler"}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, with what is called as it is written."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def told(file: Path, call: ast.Call, what: str) -> str:
    return f"{file.relative_to(paths.ROOT)}, line {call.lineno}: {what}"


def test_no_module_that_runs_or_unpickles_is_imported() -> None:
    for file in SOURCES:
        imported = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
        assert imported & FORBIDDEN_MODULES == set(), file


def test_nothing_is_run_unpickled_or_handed_to_a_shell() -> None:
    problems = []
    for file in SOURCES:
        for name, call in calls(file):
            words = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name in FORBIDDEN_CALLS or words.keys() & {"allow_pickle"} or words.get("shell", "False") != "False":
                problems.append(told(file, call, name))
            if name.startswith("subprocess.") and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
                problems.append(told(file, call, "a command as one text"))
    assert problems == []


def test_no_encoding_is_left_to_the_system() -> None:
    problems = []
    for file in SOURCES:
        for name, call in calls(file):
            if name.split(".")[-1] in TEXT_FILES and not name.startswith(("os.open", "os.fdopen", "pa.", "pq.")):
                modes = [str(arg.value) for arg in call.args if isinstance(arg, ast.Constant)]
                binary = any(re.fullmatch(r"[rwxa]\+?b|[rwxa]b\+?", mode) for mode in modes)
                if not binary and "encoding" not in {keyword.arg for keyword in call.keywords}:
                    problems.append(told(file, call, f"{name} without encoding"))
    assert problems == []


def test_no_path_of_one_system_but_where_the_system_is_asked_for() -> None:
    found = {
        file.name
        for file in SOURCES
        if re.search(r"[\"']/(?:proc|tmp|dev|etc|usr|var)/", file.read_text(encoding="utf-8"))
    }
    assert found <= {"memory.py"}
