"""Benchmarks: what this program costs on this machine, measured as its users would."""
