"""Sweeps: many points, one evaluate function, any executor, never lost."""
