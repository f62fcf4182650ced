"""For people: tables of text, progress, plots and reports."""
