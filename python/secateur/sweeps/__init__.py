"""Sweeps: many points, one evaluate function, any executor, never lost."""

from secateur.sweeps.bound_only import Sparsities, Widths, sweep_bounds
from secateur.sweeps.events import Event
from secateur.sweeps.journal import Recorded
from secateur.sweeps.points import Grid, grid
from secateur.sweeps.recipe import Data, Recipe
from secateur.sweeps.records import Failure, Outcome, Record
from secateur.sweeps.results import Results
from secateur.sweeps.run import sweep
from secateur.sweeps.suggestions import Suggestions, suggest

__all__ = [
    "Data",
    "Event",
    "Failure",
    "Grid",
    "Outcome",
    "Recipe",
    "Record",
    "Recorded",
    "Results",
    "Sparsities",
    "Suggestions",
    "Widths",
    "grid",
    "suggest",
    "sweep",
    "sweep_bounds",
]
