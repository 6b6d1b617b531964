"""Many runs: jobs, the executors that run them, Hydra's launcher on top, and the search."""
