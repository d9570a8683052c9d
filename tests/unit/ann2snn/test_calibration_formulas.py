"""Corrections of converted nets beside their formulas and plain loops."""

from types import SimpleNamespace

import pytest
import torch
from calibrated_nets import converted, responses
from torch import Tensor, nn

from snntrain.ann2snn import calibrate, prepare, to_spiking
from snntrain.functional import set_backend

pytestmark = pytest.mark.filterwarnings("ignore::snntrain.ann2snn.ConversionWarning")  # a small net has dead channels


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def spikes(z: Tensor, theta: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Outputs [T, N, C, P] of neurons that receive z [N, C, P] and bias [T, C, 1] at every step."""
    out = []
    v = v.expand(z.shape)
    for b in bias:
        h = v + z + b
        out.append(theta * (h >= theta))
        v = h - out[-1]
    return torch.stack(out)


def corrected(
    correction: str, parts: list[Tensor], theta: Tensor, v_init: Tensor, T: int, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Bias [T, C, 1] and start potential after corrections on parts [N, C, P] of pre-activations, one after the other.

    d = mean relu(z) − mean output; the gain is the part's share in all samples so far, and at least 0.2 of its size.
    """
    bias = torch.zeros(T, parts[0].shape[1], 1, dtype=torch.double) if bias is None else bias
    for index, z in enumerate(parts):
        size, seen = len(z), [len(part) for part in parts[: index + 1]]
        gain = max(size / sum(seen), 0.2 * size / max(seen))
        out = spikes(z, theta, v_init, bias)
        y = z.relu().mean((0, 2))[:, None]
        if correction == "bias":
            bias = bias + gain * (y - out.mean((0, 1, 3))[:, None])
        elif correction == "step_bias":
            bias = bias + gain * (y - out.mean((1, 3))[..., None])
        else:
            v_init = v_init + gain * T * (y - out.mean((0, 1, 3))[:, None])
    return bias, v_init


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("space", [(), (3, 2)])
@pytest.mark.parametrize("correction", ["bias", "step_bias", "potential"])
def test_corrections_of_one_layer_are_their_formulas(correction, space, per_channel, steps):
    """Two batches, of which the second is smaller; thresholds and start potentials of all shapes."""
    T, C = 5, 4
    layer = (nn.Conv2d(3, C, 1) if space else nn.Linear(3, C)).double()
    gm = prepare(nn.Sequential(layer, nn.ReLU()), torch.randn(4, 3, *space).double())
    theta, v_init = torch.tensor(0.8).double(), torch.tensor(0.3).double()
    if per_channel:
        theta, v_init = torch.rand(C).double() + 0.5, torch.rand(C, *space).double() / 2
    snn = to_spiking(gm, {"1": SimpleNamespace(theta=theta, v_init=v_init)})
    set_backend(snn, "torch")
    batches = [torch.randn(n, 3, *space).double() for n in (8, 3)]
    calibrate(gm, snn, batches, T, steps, correction)

    with torch.no_grad():
        parts = [layer(x).flatten(2) if space else layer(x)[..., None] for x in batches] * steps
    start = v_init.reshape(C, -1) if per_channel else v_init
    bias, wanted_v = corrected(correction, parts, theta.reshape(-1, 1), start, T)
    neurons = snn.neurons["1"]
    if correction == "potential":
        assert neurons.bias is None
        shape = [C, *space] if per_channel else [C]
        torch.testing.assert_close(neurons.v_init, wanted_v.expand(C, -1)[:, : neurons.v_init[0].numel()].view(shape))
    else:
        torch.testing.assert_close(neurons.bias, bias[..., 0] if correction == "step_bias" else bias[0, :, 0])
        assert torch.equal(neurons.v_init, v_init)


def test_many_steps_take_fewer_images_at_once():
    """1,024 images of all steps together: two at 512 steps."""
    x, T = torch.randn(5, 3).double(), 512
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).double()
    gm = prepare(net, x)
    snn = to_spiking(gm, {"1": SimpleNamespace(theta=torch.tensor(1.0).double(), v_init=0.5)})
    set_backend(snn, "torch")
    calibrate(gm, snn, [x], T, steps=1)
    with torch.no_grad():
        parts = [net[0](part)[..., None] for part in (x[:2], x[2:4], x[4:])]
    bias, _ = corrected("bias", parts, torch.ones(1).double(), torch.full((1,), 0.5).double(), T)
    torch.testing.assert_close(snn.neurons["1"].bias, bias[0, :, 0])


def test_the_first_step_of_the_weights_is_against_the_gradient():
    """∂/∂W of mean (clip(W·x̄ + b, 0, θ) − y)²; the first step of Adam is its sign times the rate."""
    net, T = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), 4
    x = torch.randn(40, 3)
    gm, snn = converted(net, x, T)
    calibrate(gm, snn, [x], T, 1, "step_bias")  # a bias that the weights have to reckon with
    before = {name: value.clone() for name, value in snn.state_dict().items() if isinstance(value, Tensor)}
    values = responses(gm, snn, x, T)
    calibrate(gm, snn, [x], T, 1, "weight")

    mean_input, y = values["1"][1], values["3"][0]
    weight, theta = before["net.2.weight"], before["net.3.theta"]
    z = mean_input @ weight.T + before["net.2.bias"] + before["net.3.bias"].mean(0)
    gradient = ((z.clamp_min(0).minimum(theta) - y) * ((z > 0) & (z < theta))).T @ mean_input
    assert (gradient.abs() > 1e-3).float().mean() > 0.5
    rate = 0.03 * weight.square().mean().sqrt()
    found = snn.state_dict()
    clear = gradient.abs() > 1e-3
    torch.testing.assert_close(
        (found["net.2.weight"] - weight)[clear], -rate * gradient.sign()[clear], rtol=2e-3, atol=0
    )
    others = [name for name in before if name != "net.2.weight"]
    assert len(others) > 5 and all(torch.equal(found[name], before[name]) for name in others)


def test_a_bias_of_each_step_follows_the_number_of_steps():
    """Its last row serves all later steps; what is corrected then is a bias of the steps that run."""
    x = torch.randn(20, 3).double()
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()).double()
    gm = prepare(net, x)
    one = SimpleNamespace(theta=torch.tensor(1.0).double(), v_init=0.5)
    snn = to_spiking(gm, {"1": one, "3": one})
    set_backend(snn, "torch")
    neurons, held = snn.neurons["1"], torch.zeros(1, 4, 1).double()
    with torch.no_grad():
        parts = [net[0](x)[..., None]]
    for T in (3, 5, 2):
        calibrate(gm, snn, [x], T, 1, "step_bias")
        rows = [min(t, len(held) - 1) for t in range(T)]
        held, _ = corrected("step_bias", parts, torch.ones(1, 1).double(), torch.tensor(0.5).double(), T, held[rows])
        torch.testing.assert_close(neurons.bias, held[..., 0])
    calibrate(gm, snn, [x], 6, 1, "bias+weight")
    assert neurons.bias.shape == (2, 4)
