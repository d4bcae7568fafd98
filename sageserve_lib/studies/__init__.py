"""Many simulations: sweeps over grids, further weeks for a report's intervals, and a sweep in the background."""
