"""One run and its pages: run directory, lock, log, resuming, notebooks, HTML, index, comparison with another run."""
