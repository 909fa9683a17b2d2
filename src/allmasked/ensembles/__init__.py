"""Several runs: trained in a row, put together as one, taught to a small student."""
