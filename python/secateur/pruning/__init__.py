"""Pruning: what a strategy sees, what it gives, and the strategies that come with the library."""
