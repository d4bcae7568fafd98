"""Parameters of notebooks, as papermill, the command line and people give them."""

import ast
from types import SimpleNamespace

import pytest

from sageserve_lib.common import parameters
from sageserve_lib.common.parameters import converted, declarations, read_parameters
from sageserve_lib.errors import InputError

DECLARED = """trace: str = ""  # a log; "" means a = b
seed: int = 7
scale: float = 1.0
policies: list = []
skip_bad: bool = False
"""


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("list", "['siloed','lt-u']", ["siloed", "lt-u"]),
        ("list", "[siloed, lt-u]", ["siloed", "lt-u"]),
        ("list", "siloed, lt-u", ["siloed", "lt-u"]),
        ("list", "siloed", ["siloed"]),
        ("list", "", []),
        ("list", "[]", []),
        ("list", ("siloed",), ["siloed"]),
        ("list", "[a=1, 'b=[1]']", ["a=1", "b=[1]"]),
        ("list", [7, "a"], ["7", "a"]),
        ("str", 7, "7"),
        ("str", "7", "7"),
        ("int", "7", 7),
        ("int", 7.0, 7),
        ("float", 1, 1.0),
        ("float", "0.5", 0.5),
        ("bool", "true", True),
        ("bool", False, False),
        ("dict", "{a: 1}", {"a": 1}),
    ],
)
def test_what_can_only_mean_one_thing_is_read(kind: str, value: object, read: object) -> None:
    found = converted(value, kind)
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("str", 1.1),  # 1.10?
        ("str", True),
        ("str", ["a"]),
        ("str", None),
        ("int", 7.5),
        ("int", True),
        ("int", "seven"),
        ("int", float("inf")),
        ("int", None),
        ("float", float("nan")),
        ("float", "inf"),
        ("float", False),
        ("float", [1.0]),
        ("bool", 1),
        ("bool", "maybe"),
        ("list", "a=1"),
        ("list", "a=1,b=2"),
        ("list", "["),
        ("list", "{a: 1}"),
        ("list", "[{a: 1}]"),
        ("list", [None]),
        ("list", [0.5]),
        ("list", 7),
        ("list", {"a": 1}),
        ("dict", "[a]"),
    ],
)
def test_anything_else_is_refused(kind: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        converted(value, kind)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch):
    """Run ``read_parameters`` as in a notebook with DECLARED whose parameters were set so; what they are then."""

    def run(**given: object) -> dict[str, object]:
        names = {line.target.id: ast.literal_eval(line.value) for line in declarations(DECLARED)}
        injected = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in given.items())
        names |= given | {"In": ["", DECLARED, injected, "read_parameters()"]}
        shell = SimpleNamespace(user_ns=names, set_custom_exc=lambda *args: None)
        monkeypatch.setattr(parameters, "get_ipython", lambda: shell)
        read_parameters()
        return {name: names[name] for name in ("trace", "seed", "scale", "policies", "skip_bad")}

    return run


def test_a_notebook_gets_the_types_that_it_declares(notebook) -> None:
    defaults = {"trace": "", "seed": 7, "scale": 1.0, "policies": [], "skip_bad": False}
    assert notebook() == defaults
    assert notebook(policies="['siloed','lt-u']", trace=7) == defaults | {"policies": ["siloed", "lt-u"], "trace": "7"}
    assert notebook(**dict.fromkeys(defaults)) == defaults


def test_every_parameter_that_cannot_be_read_is_named(notebook) -> None:
    with pytest.raises(InputError) as refused:
        notebook(trace=1.1, seed="x", scale=float("nan"), policies=3, skip_bad="no idea")
    assert refused.value.problems == (
        "parameter 'trace' is 1.1; expected a text; papermill takes it for one with -r in place of -p",
        "parameter 'seed' is 'x'; expected a whole number",
        "parameter 'scale' is nan; expected a finite number",
        "parameter 'policies' is 3; expected a list, as in [a, b]",
        "parameter 'skip_bad' is 'no idea'; expected true or false",
    )


def test_outside_a_notebook_nothing_is_read() -> None:
    read_parameters()
