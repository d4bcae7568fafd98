"""The controls: ipywidgets around an exploration. What they show stays in the notebook as a picture and a table.

Answers are ordinary outputs that are replaced, not widgets, so that a page made of the notebook shows the last of them.
"""

import logging
import time
from dataclasses import asdict
from html import escape
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import DisplayHandle, display

from sageserve_lib.errors import SageServeError
from sageserve_lib.explore.answers import Answer, Exploration, Settings
from sageserve_lib.explore.compare import as_text, comparison, named, picture, told
from sageserve_lib.policies import REGISTRY

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95)
_SCALES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
_STYLE = {"description_width": "150px"}
_LAYOUT = {"width": "310px"}
_KINDS = {"busy": "#0b5cad", "good": "#1b5e20", "bad": "#b00020"}


class Panel:
    """Controls, and below them what the last change made of the week.

    Parameters
    ----------
    exploration : Exploration
    first : Settings
        To begin with.

    Attributes
    ----------
    controls : dict
        The widget of each field of ``Settings``, by name.
    status : HTML
        What is going on, what came out, or why a setting cannot be.
    answer : Answer, optional
        The last there is.
    """

    def __init__(self, exploration: Exploration, first: Settings) -> None:
        self.exploration = exploration
        self.answer: Answer | None = None
        self._before: Answer | None = None
        self._pictures, self._numbers = DisplayHandle(), DisplayHandle()
        self._shown = False
        self.controls = _controls(first, exploration)
        self.status = widgets.HTML()
        self.pin = widgets.ToggleButton(
            description="Pin for comparison",
            icon="thumb-tack",
            tooltip="Compare what follows with what is shown now",
            layout={"width": "200px"},
        )
        self.pin.observe(self._pinned, "value")
        self._pin: Answer | None = None
        reset = widgets.Button(description="Start again", icon="undo", tooltip="Back to the settings of the scenario")
        reset.on_click(lambda _: self.set(first))
        for control in self.controls.values():
            control.observe(self._changed, "value")
        self._buttons = widgets.HBox([self.pin, reset])
        self._quiet = False

    @property
    def settings(self) -> Settings:
        """What the controls say."""
        value = {name: control.value for name, control in self.controls.items()}
        return Settings(
            **{
                **value,
                "quantile": value["quantile"] or None,
                "swap_s": 60.0 * value["swap_s"],
                "cold_s": 3600.0 * value["cold_s"],
            }
        )

    def set(self, settings: Settings) -> None:
        """Put the controls to ``settings``, and answer once."""
        self._quiet = True
        for name, value in _shown_values(settings).items():
            self.controls[name].value = value
        self._quiet = False
        self.update()

    def show(self) -> None:
        """Display the controls and the first answer."""
        columns = [
            ("Policy", ("policy", "scale")),
            ("Thresholds and plan", ("scale_out_above", "scale_in_below", "quantile")),
            ("Start-up times", ("reclaim_s", "swap_s", "cold_s")),
        ]
        boxes = [
            widgets.VBox([widgets.HTML(f"<b>{title}</b>"), *(self.controls[name] for name in names)])
            for title, names in columns
        ]
        boxes[0].children += (self._buttons,)
        layout = widgets.Layout(flex_flow="row wrap", grid_gap="4px 12px")
        box = widgets.VBox([widgets.Box(boxes, layout=layout), self.status])
        # A page shows no controls: there, a sentence stands in their place.
        bundle, metadata = _bundle(box)
        bundle["text/plain"] = "The controls are there when this notebook is open in JupyterLab."
        display(bundle, metadata=metadata, raw=True)
        self.update()

    def update(self) -> None:
        """Answer what the controls say, or say why that cannot be."""
        settings = self.settings
        self.controls["quantile"].disabled = REGISTRY[settings.policy].plan not in ("forecast", "ahead")
        began = time.perf_counter()
        try:
            answer = self.exploration.answer(settings, lambda text: self._say(text, "busy"))
            before = self._pin or self.answer
            self._draw(answer, None if before is answer else before)
        except SageServeError as error:
            self._say(str(error), "bad")
            return
        except Exception as error:  # a user's own policy may fail in any way, and nobody would see it
            logging.getLogger(__name__).exception("Exploring %s", settings)
            self._say(f"{settings.policy} failed: {type(error).__name__}: {error}", "bad")
            return
        text = told(answer, self._before)
        if self._before is not None and answer.result.totals == self._before.result.totals:
            text = f"No number changed: {settings.policy} does not look at what was set."
        requests = answer.result.totals["requests"]
        self._say(f"{text} ({requests:,} requests, {time.perf_counter() - began:.1f} s)", "good")
        self.answer = answer

    def _draw(self, answer: Answer, before: Answer | None) -> None:
        self._before = before
        figure = picture(answer, before)
        alt = f"Instances held, utilization, latency and GPU-hours of a week. {told(answer, before)}"
        metadata = {kind: {"alt": alt} for kind in ("image/svg+xml", "image/png")}
        names = [named(answer, before), *([named(before, answer), "change"] if before is not None else [])]
        if len(names) > 1 and names[0] == names[1]:
            names[1] += " (before)"
        numbers = as_text(comparison(answer, before), names)
        show = "update" if self._shown else "display"
        getattr(self._pictures, show)(figure, metadata=metadata)
        getattr(self._numbers, show)(numbers)
        self._shown = True
        plt.close(figure)

    def _changed(self, _: Any) -> None:
        if not self._quiet:
            self.update()

    def _pinned(self, change: dict[str, Any]) -> None:
        self._pin = self.answer if change["new"] else None
        self.pin.description = f"Pinned: {self._pin.settings.policy}" if self._pin else "Pin for comparison"

    def _say(self, text: str, kind: str) -> None:
        role = "alert" if kind == "bad" else "status"
        self.status.value = (
            f'<div role="{role}" class="explore-{kind}" style="color:{_KINDS[kind]}">{escape(text)}</div>'
        )


def _bundle(widget: widgets.Widget) -> tuple[dict[str, Any], dict[str, Any]]:
    """What IPython would show of a widget."""
    found = widget._repr_mimebundle_()
    return dict(found), {}


def _shown_values(settings: Settings) -> dict[str, Any]:
    """Settings in the units of the controls; no quantile is 0, since a selection's None means that nothing is chosen."""
    return {
        **asdict(settings),
        "quantile": settings.quantile or 0.0,
        "swap_s": settings.swap_s / 60.0,
        "cold_s": settings.cold_s / 3600.0,
    }


def _controls(first: Settings, exploration: Exploration) -> dict[str, Any]:
    values = _shown_values(first)

    def slider(name: str, label: str, low: float, high: float, step: float, readout: str = ".2f") -> widgets.Widget:
        # What the scenario has is within reach, whatever it is.
        return widgets.FloatSlider(
            value=values[name], min=min(low, values[name]), max=max(high, values[name]), step=step, description=label,
            readout_format=readout, continuous_update=False, style=_STYLE, layout=_LAYOUT,
        )  # fmt: skip

    quantiles = sorted({*_QUANTILES, *([first.quantile] if first.quantile else [])})
    scales = sorted({*_SCALES, first.scale}) if exploration.has_scales else [first.scale]
    return {
        "policy": widgets.Dropdown(options=list(REGISTRY), value=first.policy, description="policy", style=_STYLE, layout=_LAYOUT),
        "scale": widgets.SelectionSlider(
            options=[(f"{scale:g}", scale) for scale in scales], value=first.scale, description="scale of the traffic",
            disabled=len(scales) == 1, continuous_update=False, style=_STYLE, layout=_LAYOUT,
        ),
        "scale_out_above": slider("scale_out_above", "scale out above", 0.1, 1.5, 0.05),
        "scale_in_below": slider("scale_in_below", "scale in below", 0.0, 1.0, 0.05),
        "quantile": widgets.SelectionSlider(
            options=[("median", 0.0), *((f"{q:g}", q) for q in quantiles)], value=values["quantile"],
            description="plan for quantile", continuous_update=False, style=_STYLE, layout=_LAYOUT,
        ),
        "reclaim_s": slider("reclaim_s", "reclaim (s)", 0, 600, 15, ".0f"),
        "swap_s": slider("swap_s", "swap the model (min)", 0, 60, 1, ".0f"),
        "cold_s": slider("cold_s", "cold start (h)", 0, 6, 0.25),
    }  # fmt: skip
