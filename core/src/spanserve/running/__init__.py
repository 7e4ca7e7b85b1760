"""Where the model runs: a runner for each kind of place, and the host in each."""
