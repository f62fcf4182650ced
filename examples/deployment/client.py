"""Ask a server about samples that it cannot read: python client.py DIRECTORY/client URL

The server is that of `secateur serve DIRECTORY`. Prints the two scores of every sample.
"""

import sys

import numpy as np

from secateur.deployment import Client

client = Client.load(sys.argv[1])
samples = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
with client.connect(sys.argv[2]) as connection:
    for scores in connection.predict(samples):
        print(*scores)
