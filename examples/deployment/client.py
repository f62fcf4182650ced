"""Ask a server about samples that it cannot read: python client.py DIRECTORY/client PORT

Prints a line for every sample: its integers, then its scores.
"""

import sys
from urllib.request import Request, urlopen

import numpy as np

from secateur.deployment import Client

client = Client.load(sys.argv[1])
address = f"http://localhost:{sys.argv[2]}"


def post(path: str, message: bytes) -> bytes:
    with urlopen(Request(address + path, data=message, method="POST")) as answer:
        return answer.read()


session = post("/keys", client.evaluation_keys()).decode()
for sample in np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]):
    question = client.encrypt(client.quantize(sample))
    integers = client.decrypt(post(f"/run/{session}", question))
    print(*integers, *client.dequantize(integers))
