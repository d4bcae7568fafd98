"""What a notebook shows and keeps: text, notes, figures and tables, in the notebook alone or in a run directory too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.core.pylabtools import print_figure
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from sageserve_lib import tables
from sageserve_lib.characterize.findings import Finding
from sageserve_lib.common.files import write_whole
from sageserve_lib.common.status import prepare_notebook
from sageserve_lib.workbook.cells import show_tables_in_words


class Pages:
    """Shows things in a notebook, and writes them to a run directory, from where they are read back.

    Parameters
    ----------
    folder : Path, optional
        The run directory; None to keep everything in the notebook.
    """

    def __init__(self, folder: Path | None) -> None:
        prepare_notebook()
        show_tables_in_words()
        self.folder = folder
        self._memory: dict[str, Any] = {}
        plt.rcParams["figure.max_open_warning"] = 0

    # What is shown

    def say(self, text: str) -> None:
        """Show Markdown text."""
        display(Markdown(text))

    def note(self, text: str, moves_numbers: bool = False) -> None:
        """Show a sentence and add it to the report's notes; what moves its numbers stands at the top of its first page."""
        self.say(f"> **{'Odd' if moves_numbers else 'Note'}.** {text}")
        if self.folder is not None:
            notes = self._json("notes.json", [])
            if text not in (entry["text"] for entry in notes):
                self._write_json(
                    "notes.json", [*notes, {"text": text} | ({"moves_numbers": True} if moves_numbers else {})]
                )

    def figure(self, figure: Figure, name: str, title: str, see: str) -> None:
        """Show a figure with the sentence that says what to see, and save it for the report's summary.

        Without a name it is not saved: one of seconds, say, which would differ between equal runs.
        """
        figure.set_label(title)
        self.say(f"**{title}**")
        alt = f"{title}. {see}"
        # Drawn once, for the notebook and for the file. Without a date, equal runs give equal ones.
        svg = print_figure(figure, "svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        kind = "image/svg+xml"
        display({kind: svg, "text/plain": title}, metadata={kind: {"alt": alt}}, raw=True)
        self.say(f"*{see}*")
        if self.folder is not None and name:
            write_whole(self.folder / "figures" / f"{name}.svg", svg)
            captions = self._json("figures/captions.json", {})
            captions[name] = {"file": f"{name}.svg", "title": title, "see": see, "alt": alt}
            self._write_json("figures/captions.json", captions)

    def found(
        self,
        finding: Finding,
        name: str,
        draw: Callable[..., Figure],
        *frames: pd.DataFrame | dict | pd.Timestamp,
        see: str,
    ) -> None:
        """Show the figure that ``draw`` makes of ``frames`` under a finding, or what is to be said instead."""
        if finding.drawn:
            self.figure(draw(*frames), name, finding.text, see)
        else:
            self.tell(finding)

    def tell(self, finding: Finding) -> None:
        """Show a finding as a sentence, or note why nothing can be found."""
        if finding.told:
            self.say(f"**{finding.text}.**")
        else:
            self.note(finding.text)

    # What is kept

    def _table(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        if name not in self._memory:
            found = tables.read(name, self.folder / "tables") if self.folder is not None else None
            if found is None:
                found = make()
                self.keep(name, found)
            self._memory[name] = found
        return self._memory[name]

    def _beside(self, make: Callable[[], Any], name: str) -> pd.DataFrame:
        """A table that ``make`` keeps beside its own; empty where it was not kept."""
        make()
        return self._table(name, lambda: tables.empty(name))

    def keep(self, name: str, frame: pd.DataFrame) -> None:
        """Keep a table, in place of an older one of this name."""
        if self.folder is not None:
            tables.write(name, frame, self.folder / "tables")
            # What follows is to be the same whether this process made the table or found it.
            frame = tables.read(name, self.folder / "tables")
        self._memory[name] = frame

    def _add_timings(self, rows: pd.DataFrame) -> None:
        rows = rows.reindex(columns=list(tables.COLUMNS["timings"]))
        rows = rows.astype({name: object for name in ("policy", "region", "model")})
        rows = rows.fillna(dict.fromkeys(("policy", "region", "model"), ""))
        before = tables.read("timings", self.folder / "tables") if self.folder is not None else None
        before = self._memory.get("timings") if before is None else before
        if before is not None:
            rows = pd.concat([before, rows], ignore_index=True)
        # A step that is done again after a run was killed has one row, the last.
        keys = ["step", "policy", "region", "model"]
        self.keep("timings", rows.drop_duplicates(keys, keep="last", ignore_index=True))

    def _json(self, name: str, default: Any) -> Any:
        file = self.folder / name if self.folder is not None else None
        return json.loads(file.read_text(encoding="utf-8")) if file is not None and file.exists() else default

    def _write_json(self, name: str, value: list | dict) -> None:
        assert self.folder is not None
        write_whole(self.folder / name, json.dumps(value, indent=1, ensure_ascii=False))
