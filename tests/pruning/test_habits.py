"""What people do with torch models in training, done with one that is being pruned."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from secateur.analysis import analyze
from secateur.errors import UnfinishedModelError
from secateur.pruning import Accumulator, Structured
from secateur.pruning.schedule import Gradual, OneShot, Reselect
from secateur.pruning.torch import Pruner
from secateur.reading.torch import freeze, masks, quantize

torch.manual_seed(0)
X, Y = torch.rand(64, 8), torch.arange(64) % 3


def classifier(seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    return quantize(module, 3, 2, X)


def pruned(schedule=None, bits=4, **options):
    model = classifier()
    pruner = Pruner(model, Accumulator(bits, **options), schedule=schedule or Reselect(every=3))
    return model, pruner, torch.optim.Adam(model.parameters(), lr=0.02)


def train(model, pruner, optimizer, steps, forward=None):
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy((forward or model)(X), Y).backward()
        optimizer.step()
        pruner.step()


def widest(model):
    return analyze(freeze(model)).accumulator_bits


def same(one, other):
    return all(torch.equal(one[k], v) for k, v in other.items())


def test_a_copy_in_training_computes_the_same_and_goes_its_own_way():
    model, pruner, optimizer = pruned()
    train(model, pruner, optimizer, 5)
    twin = copy.deepcopy(model)
    assert torch.equal(twin.eval()(X), model.eval()(X))
    model.train()
    before = copy.deepcopy(twin.state_dict())
    train(model, pruner, optimizer, 5)
    assert same(twin.state_dict(), before)
    with pytest.raises(UnfinishedModelError):
        freeze(twin)


def test_a_copy_of_model_and_pruner_finishes_by_itself():
    model, pruner, optimizer = pruned()
    train(model, pruner, optimizer, 5)
    twin, its_pruner = copy.deepcopy((model, pruner))
    train(model, pruner, optimizer, 2)
    its_pruner.finish()
    assert widest(twin) <= 4
    assert masks.on(model.get_submodule("0")) is not None
    pruner.finish()
    assert widest(model) <= 4


def test_averages_follow_the_weights_and_bear_the_masks():
    model, pruner, optimizer = pruned(OneShot())
    average = AveragedModel(model, avg_fn=lambda old, new, count: 0.5 * (old + new))
    train(model, pruner, optimizer, 1)
    expected = None
    for _ in range(4):
        train(model, pruner, optimizer, 1)
        weight = masks.unmasked(model.get_submodule("0")).detach()
        expected = weight.clone() if expected is None else 0.5 * (expected + weight)
        average.update_parameters(model)
    assert torch.allclose(masks.unmasked(average.module.get_submodule("0")), expected)


def test_an_average_is_loaded_back_and_finished():
    model, pruner, optimizer = pruned(OneShot())
    train(model, pruner, optimizer, 2)
    average = AveragedModel(model)
    for _ in range(5):
        train(model, pruner, optimizer, 1)
        average.update_parameters(model)
    state = {k: v for k, v in average.module.state_dict().items() if "kept" not in k}
    model.load_state_dict(state, strict=False)
    with warnings.catch_warnings():
        # Codes of an average are nobody's codes: what they exceed goes, and is warned of.
        warnings.simplefilter("ignore")
        pruner.finish()
    assert widest(model) <= 4


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_selecting_between_forward_and_backward(fraction):
    model, pruner, optimizer = pruned(OneShot(at=10**6))
    loss = functional.cross_entropy(model(X), Y)
    pruner.select(fraction)
    loss.backward()
    optimizer.step()
    pruner.step()
    pruner.select()
    assert pruner.fits


def test_an_optimiser_made_before_the_pruner_trains_on():
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = Pruner(model, "accumulator", bits=4)
    before = [p.detach().clone() for p in model.parameters()]
    train(model, pruner, optimizer, 3)
    assert all((p != b).any() for p, b in zip(model.parameters(), before, strict=True))


def test_gradients_add_up_over_parts_of_a_batch():
    results = []
    for parts in (1, 4):
        model, pruner, _ = pruned()
        model.eval()  # batch norm would see other batches
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(4):
            optimizer.zero_grad()
            for x, y in zip(X.chunk(parts), Y.chunk(parts), strict=True):
                (functional.cross_entropy(model(x), y) / parts).backward()
            optimizer.step()
            pruner.step()
        results.append(masks.unmasked(model.get_submodule("0")).detach().clone())
    assert torch.allclose(*results, atol=1e-4)


def test_checkpointed_activations_give_the_same_gradients():
    def segments(model):
        body = list(model.children())
        return nn.Sequential(*body[:-1]), body[-1]

    results = []
    for saved in (False, True):
        model, pruner, optimizer = pruned()
        first, last = segments(model)

        def forward(x, first=first, last=last, saved=saved):
            x = x.clone().requires_grad_()
            return last(checkpoint(first, x, use_reentrant=False) if saved else first(x))

        train(model, pruner, optimizer, 4, forward)
        pruner.finish()
        results.append(model.state_dict())
    running = ("running_mean", "running_var", "num_batches_tracked")
    kept = [{k: v for k, v in r.items() if not k.endswith(running)} for r in results]
    assert all(torch.allclose(kept[1][k], v, atol=1e-5) for k, v in kept[0].items())


def test_autocast_trains_the_weights_themselves():
    model, pruner, optimizer = pruned()

    def forward(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    train(model, pruner, optimizer, 8, forward)
    assert masks.unmasked(model.get_submodule("0")).dtype == torch.float32
    pruner.finish()
    assert widest(model) <= 4


def test_distributed_data_parallel_on_one_process(tmp_path):
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        alone, its_pruner, its_optimizer = pruned()
        train(alone, its_pruner, its_optimizer, 6)
        model, pruner, optimizer = pruned()
        train(model, pruner, optimizer, 6, nn.parallel.DistributedDataParallel(model))
        assert same(alone.state_dict(), model.state_dict())
        pruner.finish()
        assert widest(model) <= 4
    finally:
        distributed.destroy_process_group()


CHAINS = {
    "neurons": [Structured(0.5, saliency="taylor"), Accumulator(4)],
    "weights": [Accumulator(4, saliency="taylor")],
}


def train_a_share(rank, store, chain, found):
    """Train on every second sample, as one of two processes; save what that comes to."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    model = classifier(seed=rank)  # the first process's weights are sent to the other
    pruner = Pruner(model, CHAINS[chain], schedule=Gradual(2, 12, every=2))
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(parallel.parameters(), lr=0.02)
    own_gradients = []
    for _ in range(30):
        optimizer.zero_grad()
        x, y = X[rank::2], Y[rank::2]
        with parallel.no_sync():
            functional.cross_entropy(parallel(x), y).backward()
        own_gradients.append(masks.unmasked(model.get_submodule("0")).grad.clone())
        optimizer.zero_grad()
        functional.cross_entropy(parallel(x), y).backward()
        optimizer.step()
        pruner.step()
    kept = pruner.finish()
    codes = {layer.name: layer.codes for layer in freeze(model).layers}
    (found / f"{rank}.pkl").write_bytes(pickle.dumps((dict(kept), codes, own_gradients)))
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_processes_that_share_gradients_select_the_same(tmp_path, chain):
    arguments = f"{tmp_path}/store", chain, tmp_path
    multiprocessing.spawn(train_a_share, arguments, nprocs=2)
    found = [pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) for rank in range(2)]
    (kept, codes, gradients), (its_kept, its_codes, its_gradients) = found
    assert not all(map(torch.equal, gradients, its_gradients))
    for name, mask in kept.items():
        assert not mask.all()
        assert (mask == its_kept[name]).all()
        assert (codes[name] == its_codes[name]).all()


def test_buffers_follow_the_model_and_the_count_is_no_tensor_of_it():
    model, pruner, optimizer = pruned()
    train(model, pruner, optimizer, 3)
    model.double()
    assert masks.on(model.get_submodule("0")).kept.dtype == torch.uint8
    assert not any("progress" in name for name, _ in model.named_buffers())
    assert pruner.complete
