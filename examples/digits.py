"""Handwritten digits, read by a network that never sees them: train, prune, prove, encrypt.

Trains a 64-32-32-10 network on scikit-learn's digits (1,797 real images), prunes it while it
trains until every accumulator provably fits six bits, compiles it, and asks the encrypted
circuit for ten digits that training never saw, and for the inputs that drive accumulators
of the first layer to the very ends of their ranges. Two to three minutes on two cores.
"""

import warnings
from time import perf_counter

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import secateur
from secateur.show.progress import waiting
from secateur.training import accuracy, fit

# Theirs, and nothing to do here.
warnings.filterwarnings("ignore", module="torch|brevitas|concrete")
warnings.filterwarnings("ignore", message="the input: ")  # pixels in the corners are never inked

BITS = 6
WEIGHT_BITS = 2
ACTIVATION_BITS = 2
EPOCHS = 40
DIGITS = 10


def network_of(model, name):
    """Freeze `model`, and say what it would take to run it encrypted."""
    network = secateur.freeze(model)
    bits = secateur.analyze(network).accumulator_bits
    correct = (network.predict(test_x).argmax(axis=1) == test_y).mean()
    print(f"{name:<22} accuracy {correct:.4f}, widest accumulator {bits} bits")
    return network


def sparsities(network):
    """Print what is left of every layer, and the proved range of its widest channel."""
    report = secateur.analyze(network)
    print(f"\n{'layer':<8}{'weights':>9}{'sparsity':>10}{'widest range':>14}{'bits':>6}")
    for layer in network.layers:
        node = report[layer.name]
        widest = node.channels[node.widest]
        removed = np.mean(layer.codes == 0)
        print(
            f"{layer.name:<8}{layer.codes.size:>9}{removed:>10.0%}"
            f"{f'[{widest.low}, {widest.high}]':>14}{node.bits():>6}"
        )


def prices(**networks):
    """Print what the circuits of `networks` cost, before any key is made."""
    print(f"\n{'circuit':<12}{'bits':>6}{'lookups':>9}{'complexity':>12}{'keys':>10}")
    for name, network in networks.items():
        price = secateur.price(network)
        keys = price.evaluation_key_bytes / 2**20
        columns = f"{price.widest:>6}{price.lookups:>9}{price.complexity:>12.2e}{keys:>6.0f} MiB"
        print(f"{name:<12}{columns}")


def draw(path, **networks):
    """Save a figure of every accumulator's span, channel by channel, with the limit drawn in."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for name, network in networks.items():
        channels = [node.channels for node in secateur.analyze(network).accumulators]
        spans = np.concatenate([c.span for c in channels])
        axes.plot(spans, "o", markersize=3, label=name)
    axes.axhline(2**BITS - 1, color="black", linewidth=1, label=f"limit of {BITS} bits")
    axes.set(xlabel="channel, layer after layer", ylabel="span: high - low", ylim=(0, None))
    axes.legend()
    figure.savefig(path)
    print(f"\nranges of every channel drawn in {path}")


def witnesses(network, layer, count):
    """Return inputs that attain both ends of the widest ranges of `layer`."""
    report = secateur.analyze(network)
    channels = report[layer].channels
    widest = np.argsort(channels.span, kind="stable")[::-1][:count]
    return np.array([report.witness(layer, int(c), end) for c in widest for end in ("low", "high")])


def ask(circuit, x, answers):
    """Run every sample of `x` encrypted; say what came out, and return how many were right."""
    right = 0
    for sample, answer in zip(x, answers, strict=True):
        start = perf_counter()
        with waiting("computing on ciphertexts"):
            decrypted = circuit.encrypt_run_decrypt(sample)
        seconds = perf_counter() - start
        same = (decrypted == circuit.network(sample)).all()
        right += int(same)
        read = circuit.network.output.dequantize(decrypted).argmax()
        print(
            f"  {answer}: read as {read} in {seconds:.1f} s, "
            f"integers {'as in the clear' if same else 'DIFFER'}"
        )
    return right


torch.manual_seed(0)
torch.set_num_threads(1)  # the network is so small that threads would only wait for each other
images, labels = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(
    images.astype(np.float32), labels, test_size=0.3, random_state=0, stratify=labels
)

start = perf_counter()
float_model = nn.Sequential(
    *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()),
    *(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU()),
    nn.Linear(32, 10),
)
fit(float_model, train_x, train_y, epochs=EPOCHS)
print(f"{'float':<22} accuracy {accuracy(float_model, test_x, test_y):.4f}")

quantized = secateur.quantize(float_model, WEIGHT_BITS, ACTIVATION_BITS, train_x)
fit(quantized, train_x, train_y, epochs=EPOCHS, teacher=float_model)
unpruned = network_of(quantized, "quantized")

pruner = secateur.Pruner(quantized, "accumulator", bits=BITS)
fit(quantized, train_x, train_y, epochs=EPOCHS, teacher=float_model, pruner=pruner)
network = network_of(quantized, f"pruned to {BITS} bits")
print(f"trained in {perf_counter() - start:.0f} s")

sparsities(network)
prices(unpruned=unpruned, pruned=network)

draw("digits-ranges.png", unpruned=unpruned, pruned=network)

circuit = secateur.compile(network)
print("\nmaking keys (up to a minute) …", flush=True)
circuit.keygen()
print(f"made in {circuit.timings['keygen']:.0f} s; held-out digits, encrypted:")
encrypted = ask(circuit, network.quantize_input(test_x[:DIGITS]), test_y[:DIGITS])
print(f"decrypted == clear: {encrypted}/{DIGITS}")

first = next(network.layers).name
worst = witnesses(network, first, 1)
print(f"inputs that attain the ends of the widest accumulators of layer {first!r}:")
at_the_ends = ask(circuit, worst, ["low", "high"] * (len(worst) // 2))
print(f"decrypted == clear: {at_the_ends}/{len(worst)}")

before, after = (secateur.price(n).complexity for n in (unpruned, network))
widths = [secateur.analyze(n).accumulator_bits for n in (unpruned, network)]
asked, right = DIGITS + len(worst), encrypted + at_the_ends
print(f"""
What was proved: no input whatever drives an accumulator of this network beyond {widths[1]} bits;
unpruned the worst case takes {widths[0]}. The proof is of the integers themselves, not of samples,
and the compiled circuit has exactly the widths that were proved.
What it bought: a circuit {before / after:.0f} times cheaper to run encrypted.
Of {asked} answers {right} decrypted to what the network computes in the clear, worst cases
included.""")
