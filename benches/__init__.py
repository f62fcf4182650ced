"""Benchmarks: the bound engine and its peers, circuits, accuracy, sweeps."""
