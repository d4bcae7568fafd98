"""``make bench``: how fast everything is, side by side in one run, beside the targets."""
