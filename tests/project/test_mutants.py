"""Every fault that `make mutants` puts back still applies, and names tests that there are."""

from dataclasses import replace

import mutants
import pytest

FAULTS = mutants.mutants()


@pytest.mark.parametrize("mutant", FAULTS, ids=lambda mutant: mutant.fault)
def test_a_mutant_applies_once_and_names_its_tests(mutant: mutants.Mutant) -> None:
    assert mutant.problems() == []


def test_faults_have_names_of_their_own() -> None:
    names = [mutant.fault for mutant in FAULTS]
    assert len(set(names)) == len(names)


def test_what_no_longer_applies_is_told() -> None:
    [mutant, *_] = FAULTS
    assert "0 times" in replace(mutant, old="not in there").problems()[0]
    assert "0 times" in replace(mutant, file="no/such/file.py").problems()[0]
    assert "same" in replace(mutant, new=mutant.old).problems()[0]
    assert "no test is named" in replace(mutant, tests=()).problems()[0]
    for node in ("tests/no_such.py::test_a", "tests/project/test_mutants.py", "tests/project/test_mutants.py::test_b"):
        assert replace(mutant, tests=(node,)).problems() == [f"{mutant.fault}: there is no test {node}"]
