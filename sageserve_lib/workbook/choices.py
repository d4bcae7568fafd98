"""Which policies a workbook simulates."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

from sageserve_lib.catalogue import Scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies import DEFAULT_POLICIES, REGISTRY, Policy
from sageserve_lib.policies.own import OWN, own_policy


def policy_kinds(autoscaler: str, regions: Sequence[str], models: Sequence[str]) -> Mapping[str, type[Policy]]:
    """Policies by name: those registered, now or later, and the user's own autoscaler from a file, if one is named.

    Raises
    ------
    InputError
        If the file is bad, or has none for some model of the fleet.
    """
    if not autoscaler:
        return REGISTRY
    own = own_policy(Path(autoscaler))
    own.check(regions, models)
    return ChainMap({OWN: own}, REGISTRY)


def that_fit(
    policies: tuple[str, ...], scenario: Scenario, kinds: Mapping[str, type[Policy]] = REGISTRY
) -> tuple[tuple[str, ...], list[str]]:
    """Policies to simulate: those asked for; else those of the default report that the fleet can have, and why not others.

    The user's own autoscaler, where there is one, is simulated too.

    Raises
    ------
    InputError
        If one that is asked for is not there, or the fleet cannot have it.
    """
    unknown = [name for name in policies if name not in kinds]
    if unknown:
        raise InputError(f"Unknown policies {', '.join(unknown)}; there are {', '.join(sorted(kinds))}.")
    fit, left_out = [], []
    own = (OWN,) if OWN in kinds else ()
    for name in dict.fromkeys((*own, *(policies or DEFAULT_POLICIES))):
        try:
            kinds[name](scenario)
        except InputError as error:
            if policies:
                raise
            left_out.append(f"{name} is not simulated: {error}")
        else:
            fit.append(name)
    return tuple(fit), left_out
