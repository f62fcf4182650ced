"""concrete-numpy 0.11, for Python 3.10."""
