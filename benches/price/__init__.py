"""Accuracy against the price of a circuit: secateur and Concrete ML side by side."""
