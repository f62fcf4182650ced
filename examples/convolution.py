"""A convolutional network that reads encrypted digits in five-bit accumulators.

Two convolutions with stride 2 take the place of pooling, so that one digit costs 420 table
lookups. Trains, prunes while training, freezes, compiles, and asks the encrypted circuit for
one digit that training never saw.
"""

from time import perf_counter

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

import secateur
from secateur.training import accuracy, fit

BITS = 5
COPIES = 16


def moved(x, copies):
    """Return `copies` of images `x`, all but two of each moved and bent a little."""
    many = x.repeat(copies, 1, 1, 1)
    jitter = (torch.rand(len(many), 2, 3) * 2 - 1) * torch.tensor([0.1, 0.1, 0.075])
    jitter[: 2 * len(x)] = 0
    grid = functional.affine_grid(torch.eye(2, 3) + jitter, list(many.shape), align_corners=False)
    return functional.grid_sample(many, grid, align_corners=False)


torch.set_num_threads(1)
torch.manual_seed(0)
images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
train_x, test_x, train_y, test_y = train_test_split(
    images.float().reshape(-1, 1, 8, 8) / 16, labels, test_size=0.3, random_state=0, stratify=labels
)
many_x, many_y = moved(train_x, COPIES), train_y.repeat(COPIES)

float_model = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 48, 2, stride=2), nn.BatchNorm2d(48), nn.ReLU()),
    *(nn.Flatten(), nn.Linear(192, 10)),
)
fit(float_model, many_x, many_y, epochs=4, batch_size=128)
print(f"float accuracy {accuracy(float_model, test_x, test_y):.4f}")

model = secateur.quantize(float_model, weight_bits=2, activation_bits=2, calibration=train_x)
pruner = secateur.Pruner(model, "accumulator", bits=BITS)
fit(model, many_x, many_y, epochs=16, batch_size=128, pruner=pruner)
network = secateur.freeze(model)
correct = (network.predict(test_x).argmax(axis=1) == test_y.numpy()).mean()
print(f"integer accuracy {correct:.4f} at {secateur.analyze(network).accumulator_bits} bits")

circuit = secateur.compile(network)
print(circuit.price)
circuit.keygen()
sample = network.quantize_input(test_x[0])
start = perf_counter()
decrypted = circuit.encrypt_run_decrypt(sample)
same = (decrypted == network(sample)).all()
read = network.output.dequantize(decrypted).argmax()
print(
    f"{test_y[0]}: read encrypted as {read} in {perf_counter() - start:.0f} s, "
    f"integers {'as in the clear' if same else 'DIFFER'}"
)
