"""The ``sageserve`` command.

Exit status: 0 done, 2 the input was bad, 75 the run is being made already, 130 or 143 interrupted, 1 anything else.
"""

import typer

from sageserve_lib import __version__
from sageserve_lib.cli import compare, forecast, report, scorecard, sweep, trace
from sageserve_lib.cli.base import Group

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Demand, forecast, GPU plan and the cost of autoscaling policies for an LLM serving fleet.",
)
app.command()(report.report)
app.command()(sweep.sweep)
app.command()(compare.compare)
app.command()(scorecard.scorecard)
app.add_typer(trace.app, name="trace")
app.add_typer(forecast.app, name="forecast")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"sageserve {__version__}")


def main() -> None:
    """Entry point of the ``sageserve`` command."""
    app()
