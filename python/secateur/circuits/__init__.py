"""Circuits: lowering, the proof of traced graphs, price, and what is compiled."""
