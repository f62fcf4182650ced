"""Benchmarks: bounds, peers, accuracy."""
