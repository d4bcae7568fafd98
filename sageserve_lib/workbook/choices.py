"""Which policies a workbook simulates."""

from sageserve_lib.catalogue import Scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies import DEFAULT_POLICIES, REGISTRY


def that_fit(policies: tuple[str, ...], scenario: Scenario) -> tuple[tuple[str, ...], list[str]]:
    """Policies to simulate: those asked for; else those of the default report that the fleet can have, and why not others.

    Raises
    ------
    InputError
        If one that is asked for is not there, or the fleet cannot have it.
    """
    unknown = [name for name in policies if name not in REGISTRY]
    if unknown:
        raise InputError(f"Unknown policies {', '.join(unknown)}; there are {', '.join(sorted(REGISTRY))}.")
    fit, left_out = [], []
    for name in policies or DEFAULT_POLICIES:
        try:
            REGISTRY[name](scenario)
        except InputError as error:
            if policies:
                raise
            left_out.append(f"{name} is not simulated: {error}")
        else:
            fit.append(name)
    return tuple(fit), left_out
