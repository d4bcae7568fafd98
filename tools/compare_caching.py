"""What prefix caching saves on a trace with prefix blocks, such as Mooncake's conversations.

    python tools/compare_caching.py mooncake_conversation.jsonl [MODEL [SPEED ...]]

The fewest instances of every variant of MODEL (Llama-3.3-70B) in scenario ``today`` that give 95 % of the requests their first
token within 10 s and the others within 0.1 s each on average, without a cache, with one, and routed by what is cached.
"""

import sys

import pandas as pd

from sageserve_lib.catalogue import Promise, load_scenario
from sageserve_lib.errors import InputError
from sageserve_lib.studies.caching import compare_caching
from sageserve_lib.traces import open_trace

PROMISE = Promise(ttft_s=10.0, tbt_s=0.1, objective=0.95)


def main(file: str, model: str = "Llama-3.3-70B", *speeds: str) -> None:
    """Print a table for each variant and speed."""
    trace, scenario = open_trace(file), load_scenario("today")
    pd.set_option("display.width", 160)
    for variant in scenario.variants_of(model):
        for speed in map(float, speeds or ("1", "4")):
            print(f"{variant.name}, {speed:g} times the demand of {file}; {PROMISE.words} for {PROMISE.objective:.0%}")
            print(compare_caching(trace, scenario, variant, PROMISE, speed).round(2).to_string(index=False), "\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
