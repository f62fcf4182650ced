"""Accuracy at a proved width: secateur against Concrete ML's rule, A2Q and A2Q+."""
