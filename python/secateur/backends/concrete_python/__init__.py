"""concrete-python 2, for Python 3.11 and 3.12."""
