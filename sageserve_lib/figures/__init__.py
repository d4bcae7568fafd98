"""Figures: functions that take tidy frames and return a figure. One module per subject."""
