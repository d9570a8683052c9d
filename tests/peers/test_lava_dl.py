"""lava_exchange beside lava-dl 0.6.0: converted nets that fire as the nets they are of.

Where to find lava-dl: python scripts/install_lava.py FOLDER, then SNNTRAIN_LAVA=FOLDER.
"""

import copy
import hashlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import seeded_inputs
import torch
from torch import Tensor, nn

from snntrain import functional, lava_exchange, layer
from snntrain.functional import seq_to_ann_forward
from snntrain.lava_exchange import (
    BatchNorm2d,
    BlockContainer,
    CubaLIFNode,
    NXT_to_TNX,
    SumPool2d,
    TNX_to_NXT,
    lava_shim,
)
from snntrain.neuron import IFNode, LIFNode, ParametricLIFNode

pytestmark = pytest.mark.optional


spikes = partial(seeded_inputs.spikes, rate=0.3)

# --- synapses --------------------------------------------------------------------------------------------------------


def fingerprint(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()


SYNAPSES = {
    "linear_to_lava_synapse_dense": (lambda: nn.Linear(20, 6, bias=False), (20,)),
    "conv2d_to_lava_synapse_conv": (
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False),
        (4, 9, 8),
    ),
}


@pytest.mark.parametrize("convert, case", SYNAPSES.items(), ids=SYNAPSES)
def test_a_synapse_computes_what_the_layer_does_with_a_copy_of_its_weights(slayer, convert, case):
    make, shape = case
    source = make()
    x, before = spikes(5, 3, *shape), fingerprint(source)
    synapse = getattr(lava_exchange, convert)(source)
    with torch.no_grad():
        torch.testing.assert_close(NXT_to_TNX(synapse(TNX_to_NXT(x))), seq_to_ann_forward(x, source))
        synapse.weight.zero_()
    assert fingerprint(source) == before


@pytest.mark.parametrize("kernel", [2, 3, (2, 3), (3, 1)])
def test_pooling_sums(slayer, kernel):
    x = spikes(5, 3, 4, 6, 6)
    summed = NXT_to_TNX(lava_exchange.avgpool2d_to_lava_synapse_pool(nn.AvgPool2d(kernel))(TNX_to_NXT(x)))
    assert torch.equal(summed, SumPool2d(kernel)(x))
    size = kernel**2 if isinstance(kernel, int) else kernel[0] * kernel[1]
    torch.testing.assert_close(summed, size * seq_to_ann_forward(x, nn.AvgPool2d(kernel)))


def test_windows_that_do_not_fill_the_map_are_refused(slayer):
    pool = lava_exchange.avgpool2d_to_lava_synapse_pool(nn.AvgPool2d(3))
    with pytest.raises(ValueError, match=r"windows of \(3, 3\) do not fill maps of \(7, 6\)"):
        pool(torch.zeros(1, 2, 7, 6, 4))


@pytest.mark.parametrize("rows, options", [(4, {"stride": 1}), (3, {"padding": 1})], ids=str)
def test_other_windows_are_refused_because_lava_dl_pools_something_else(slayer, rows, options):
    """Without a word: with padding the second of two channels gets some of what only the first one holds."""
    x = torch.zeros(1, 2, rows, rows, 1)
    x[0, 0] = 1.0
    pooled, summed = slayer.synapse.Pool(3, **options)(x)[..., 0], SumPool2d(3, **options)(x[..., 0])
    assert pooled.shape != summed.shape or (pooled[0, 1].sum() > 0 and summed[0, 1].sum() == 0)


# --- blocks ----------------------------------------------------------------------------------------------------------


def on_grid(module: nn.Module, gain: float, scale: int = 64) -> nn.Module:
    """Random weights that are multiples of 2/scale, so that potentials meet thresholds exactly."""
    with torch.no_grad():
        weight = gain * seeded_inputs.normal(*module.weight.shape, seed=7)
        module.weight.copy_(lava_exchange.quantize_8b(weight, scale))
    return module


def in_time(modules: list[nn.Module], x: Tensor) -> Tensor:
    """A net of layers without step modes, and neurons that have them."""
    with torch.no_grad():
        for module in modules:
            stepped = isinstance(module, (BlockContainer, layer.VotingLayer)) or hasattr(module, "v_threshold")
            if stepped:
                functional.set_step_mode(module, "m")
            x = module(x) if stepped else seq_to_ann_forward(x, module)
    return x


def through(blocks: list[nn.Module], x: Tensor) -> Tensor:
    z = TNX_to_NXT(x)
    with torch.no_grad():
        for block in blocks:
            z = block(z)
    return NXT_to_TNX(z)


If = partial(IFNode, backend="torch")
Cuba = partial(CubaLIFNode, 0.4, 0.1, backend="torch")
NETS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "dense IF": (lambda: [on_grid(nn.Linear(20, 30, bias=False), 0.3), If()], (20,)),
    "dense IF, threshold off the grid": (lambda: [on_grid(nn.Linear(20, 30, bias=False), 0.3), If(0.77)], (20,)),
    "dense CUBA": (lambda: [on_grid(nn.Linear(20, 30, bias=False), 0.2), Cuba(1.3)], (20,)),
    "dense CUBA, scale 128": (lambda: [on_grid(nn.Linear(20, 30, bias=False), 0.2, 128), Cuba(1.3, scale=128)], (20,)),
    "conv, average, dense": (
        lambda: [
            on_grid(nn.Conv2d(2, 4, 3, padding=1, bias=False), 0.4),
            If(),
            nn.AvgPool2d(2),
            If(0.75),
            nn.Flatten(),
            on_grid(layer.Linear(64, 10, bias=False), 0.3),
            Cuba(),
        ],
        (2, 8, 8),
    ),
    "average of 3 × 3": (lambda: [nn.AvgPool2d(3), If(0.4)], (2, 9, 9)),
    "sums, votes": (
        lambda: [
            SumPool2d(2),
            Cuba(2.0),
            layer.Flatten(),
            on_grid(nn.Linear(32, 12, bias=False), 0.3),
            If(),
            layer.VotingLayer(3),
        ],
        (2, 8, 8),
    ),
    "containers": (
        lambda: [
            BlockContainer(on_grid(nn.Conv2d(2, 4, 3, bias=False), 0.4), If()),
            BlockContainer(SumPool2d(2), Cuba(2.0)),
            BlockContainer(nn.Flatten(), None),
            BlockContainer(nn.Linear(36, 10, bias=False), Cuba(0.3)),
        ],
        (2, 8, 8),
    ),
}


@pytest.mark.parametrize("make, shape", NETS.values(), ids=NETS)
def test_blocks_fire_as_the_net_does_and_the_net_stays_as_it_was(slayer, make, shape):
    modules, x = make(), spikes(24, 5, *shape)
    net = nn.Sequential(*modules)
    before = fingerprint(net)
    expected = in_time(modules, x)
    for form in (modules, tuple(modules), nn.Sequential(nn.Sequential(*modules[:2]), *modules[2:])):
        blocks = lava_exchange.to_lava_blocks(form)
        assert torch.equal(through(blocks, x), expected)
        assert torch.equal(through(blocks, x), expected), "a block starts at rest"
    for block in blocks:
        for parameter in block.parameters():
            parameter.data.zero_()
    assert fingerprint(net) == before
    assert 0.02 < expected.mean() < 0.9


def test_a_neuron_at_the_start_becomes_an_input_block(slayer):
    x = lava_exchange.quantize_8b(torch.rand(24, 5, 2, 6, 6, generator=torch.Generator().manual_seed(0)), 64)
    modules = [Cuba(), on_grid(nn.Conv2d(2, 4, 3, bias=False), 0.3), If()]
    blocks = lava_exchange.to_lava_blocks(modules)
    assert type(blocks[0]) is slayer.block.cuba.Input
    assert torch.equal(through(blocks, x), in_time(modules, x))


def test_a_norm_goes_along(slayer):
    norm = BatchNorm2d(4)
    norm.running_mean, norm.running_var = torch.tensor([0.1, -0.3, 0.2, 0.0]), torch.tensor([0.3])
    container = BlockContainer(on_grid(nn.Conv2d(2, 4, 3, bias=False), 0.4), Cuba(0.5), norm).eval()
    x = spikes(24, 5, 2, 8, 8)
    expected = in_time([container], x)
    assert torch.equal(through([container.to_lava_block()], x), expected) and 0.02 < expected.mean() < 0.9


def test_votes_need_a_dense_block_of_their_size(slayer):
    fc = nn.Linear(4, 10, bias=False)
    with pytest.raises(ValueError, match=r"^to_lava_blocks: layer 2: VotingLayer must follow a dense block"):
        lava_exchange.to_lava_blocks([fc, If(), layer.VotingLayer(3)])
    with pytest.raises(ValueError, match=r"^to_lava_blocks: layer 2: IFNode follows neither Linear"):
        lava_exchange.to_lava_blocks([fc, If(), If()])


@pytest.mark.parametrize(
    "neuron", [LIFNode(4.0, False, backend="torch"), ParametricLIFNode(4.0, False, backend="torch")]
)
def test_a_float_neuron_is_followed_closely_with_a_warning(slayer, neuron):
    fc, x = on_grid(nn.Linear(20, 30, bias=False), 0.3), spikes(24, 5, 20)
    with pytest.warns(UserWarning, match="fires above the threshold, not at it; some spikes will differ"):
        block = lava_exchange.to_lava_block_dense(fc, neuron)
    different = (through([block], x) != in_time([fc, neuron], x)).float().mean()
    assert different < 0.05


def test_weights_beyond_8_bits_are_counted_in_a_warning(slayer):
    fc = nn.Linear(20, 30, bias=False)
    nn.init.constant_(fc.weight, 0.5)
    with torch.no_grad():
        fc.weight[0, :3] = torch.tensor([3.97, 4.1, -5.0])
    with pytest.warns(UserWarning, match=r"IFNode: 2 weights before it are beyond 8 bits \(-4 … 3\.96875\)"):
        lava_exchange.to_lava_block_dense(fc, If())


def test_without_quantizing_a_block_keeps_the_floats(slayer):
    fc, x = nn.Linear(20, 30, bias=False), spikes(24, 5, 20)
    block = lava_exchange.to_lava_block_dense(fc, If(), quantize_to_8bit=False)
    assert block.neuron.threshold == 1.0
    with torch.no_grad():
        torch.testing.assert_close(NXT_to_TNX(block.synapse(TNX_to_NXT(x))), seq_to_ann_forward(x, fc))


def test_blocks_train_with_lava_dl(slayer):
    """Its surrogate reaches the weights, which are no views of the source's."""
    fc = on_grid(nn.Linear(20, 30, bias=False), 0.3)
    block, kept = lava_exchange.to_lava_block_dense(fc, Cuba(requires_grad=True)), copy.deepcopy(fc.weight)
    block(TNX_to_NXT(spikes(24, 5, 20))).sum().backward()
    assert block.synapse.weight.grad.abs().sum() > 0 and block.neuron.voltage_decay.grad is not None
    torch.optim.SGD(block.parameters(), lr=1.0).step()
    assert fc.weight.grad is None and torch.equal(fc.weight, kept)


# --- Lava itself -----------------------------------------------------------------------------------------------------


def test_lavas_simulator_is_imported_without_torch(slayer):
    """What it computes, test_lava_runs compares spike for spike."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import lava_shim; lava_shim.netx().hdf5.Network\n"
        "assert 'torch' not in sys.modules and 'lava.lib.dl.netx.sequential_modules' not in sys.modules"
    )
    command = [sys.executable, "-c", program, Path(lava_shim.__file__).parent]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
