"""A deterministic world of replicas: one seed, one run. `python -m tests.sim --help`."""
