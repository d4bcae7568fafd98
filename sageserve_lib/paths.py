"""Every path the project uses, so that nothing depends on the current directory."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "sageserve_lib"
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
CATALOGUE = DATA / "catalogue.yaml"
SCENARIOS = DATA / "scenarios"
GRIDS = DATA / "grids"
WORKLOADS = DATA / "workloads"
#: The claims of [SageServe] as measured on the grid ``scorecard``; `sageserve scorecard --update` writes it.
SCORECARD = DATA / "scorecard.csv"
README = ROOT / "README.md"
#: Generated traces and probed capacities: made on first use, keyed by content, safe to delete.
GENERATED = DATA / "generated"
#: Public traces: what they may be fetched from, and where they land.
SOURCES = DATA / "sources.yaml"
RAW = DATA / "raw"
REPORTS = ROOT / "reports"

NOTEBOOK_NAMES = (
    "1-workload-characterization",
    "2-forecast-fitting",
    "3-allocation-model",
    "4-policy-simulation",
    "5-cost-comparison",
)
