"""What the library cannot do yet, each by its smallest example.

When one of these passes, its mark goes, and so does the switch in ``situations`` that its reason names, if it names one.
"""

from pathlib import Path

import numpy as np
import pytest
from numbers_of import assert_same, tables_of
from test_small_examples import requests, small

pytestmark = pytest.mark.usefixtures("generated")


def not_yet(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, reason=reason)


@not_yet("situations.ORDER_OF_REGIONS_WITH_BATCH_WORK")
def test_regions_in_another_order_with_batch_work(tmp_path: Path) -> None:
    frame = requests(np.arange(0, 800, 20), tier="NIW")
    frame["region"] = np.where(np.arange(len(frame)) % 3, "eastus", "westus")
    frame["region_preference"] = np.where(np.arange(len(frame)) % 3, "eastus>westus", "westus>eastus")
    before, after = (
        small(tmp_path, frame, "reactive", regions=order) for order in (["eastus", "westus"], ["westus", "eastus"])
    )
    assert_same(tables_of(before, ("policies", "held")), tables_of(after, ("policies", "held")), relative=1e-9)


@not_yet("situations.ORDER_OF_MODELS_THAT_SHARE_VMS")
def test_models_in_another_order_that_share_vms(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(1), 4000
    frame = requests(np.sort(rng.uniform(0, 7200, n)), model=rng.choice(["Llama-2-70B", "Llama-3.1-8B"], n))
    frame.loc[(frame["arrival_s"] // 1200) % 2 == 0, "prompt_tokens"] = 20
    before, after = (
        small(
            tmp_path,
            frame,
            "reactive",
            vms=4,
            thetas=dict.fromkeys(order, 900.0),
        )
        for order in (["Llama-2-70B", "Llama-3.1-8B"], ["Llama-3.1-8B", "Llama-2-70B"])
    )
    assert_same(tables_of(before, ("policies", "held")), tables_of(after, ("policies", "held")), relative=1e-9)
