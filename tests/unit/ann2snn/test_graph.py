"""Prepared nets: the same function in a form that can be converted, the net itself untouched."""

import copy

import pytest
import torch
from small_conversion import convert_by_maximum, error, in_evaluation, settled
from torch import nn
from torch.nn import functional as F
from watched_nets import fingerprint

from snntrain import layer
from snntrain.ann2snn.activation import Rectifier, rectifiers
from snntrain.ann2snn.graph import ConversionError, prepare
from snntrain.functional import repeat, set_backend, set_step_mode
from snntrain.graph import input_of
from snntrain.neuron import ReLU

X = torch.rand(5, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout()),
        *(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6(), nn.Flatten(), nn.Linear(96, 5)),
    )
    return settled(net, X)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_net_in_any_mode_and_dtype_is_prepared_and_stays_as_it_is(training, dtype):
    net = small_net().to(dtype).train(training)
    net[4].train(not training)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    x, before = X.to(dtype), fingerprint(net)
    gm = prepare(net, x)
    snn = convert_by_maximum(net, x)
    set_backend(snn, "torch")  # no kernels for every dtype
    assert fingerprint(net) == before
    assert {p.dtype for p in gm.parameters()} == {p.dtype for p in snn.parameters()} == {dtype}
    assert not {p.data_ptr() for p in gm.parameters()} & {p.data_ptr() for p in net.parameters()}
    assert not any(module.training for module in gm.modules())
    wanted = in_evaluation(net, x)
    assert error(gm(x), wanted) < (0.02 if dtype == torch.bfloat16 else 1e-5)
    exact = in_evaluation(copy.deepcopy(net).double(), x.double())
    rate = snn.predict(x, 256)
    assert rate.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert error(rate, exact) < 0.02


def test_the_form_of_a_prepared_net():
    gm = prepare(small_net(), X)
    kinds = [type(gm.get_submodule(node.target)).__name__ for node in gm.graph.nodes if node.op == "call_module"]
    assert kinds == ["Conv2d", "MaxPool2d", "Rectifier", "Conv2d", "Rectifier", "Flatten", "Linear"]
    found = rectifiers(gm)
    assert list(found) == ["2", "7"] and [module.cap for module in found.values()] == [None, 6.0]
    assert set(gm.state_dict()) == {f"{name}.{part}" for name in ("0", "5", "9") for part in ("weight", "bias")}


def test_without_fusion_norms_stay():
    gm = prepare(small_net(), X, fuse_norms=False)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in gm.modules()) == 2
    assert error(gm(X), in_evaluation(small_net(), X)) < 1e-6


def test_the_twin_of_a_spiking_model_is_prepared_from_either_step_mode():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(layer.Conv2d(2, 6, 3, padding=1, bias=False), layer.BatchNorm2d(6), ReLU(), layer.MaxPool2d(2)),
        layer.Residual(nn.Sequential(layer.Conv2d(6, 6, 3, padding=1), layer.BatchNorm2d(6), ReLU(), layer.Dropout())),
        *(
            layer.AdaptiveAvgPool2d(2),
            layer.Flatten(),
            layer.Linear(24, 20),
            layer.BatchNorm1d(20),
            layer.VotingLayer(4),
        ),
    )
    set_step_mode(net, "m")
    settled(net, torch.rand(3, 5, 2, 8, 8))
    before = fingerprint(net)
    snn = convert_by_maximum(net, X)
    assert fingerprint(net) == before and net[0].step_mode == "m"
    wanted = in_evaluation(net, repeat(X, 1))[0]
    assert wanted.shape == (5, 5) and error(snn.predict(X, 256), wanted) < 0.02
    # The names of the neurons are those of the activations.
    assert list(snn.neurons) == ["2", "4.residual.2"]


def test_a_convolution_of_ones_own_and_weights_that_are_shared():
    class Centered(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias, padding=1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.bn = Centered(2, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.scale = nn.Parameter(torch.rand(6, 1, 1))

        def forward(self, x):
            x = F.relu(self.a(x))
            x = F.relu(self.bn(self.b(x)))
            return F.relu(self.b(x) * self.scale.abs()).mean((2, 3))

    torch.manual_seed(0)
    net = settled(Net(), X)
    assert error(convert_by_maximum(net, X).predict(X, 256), in_evaluation(net, X)) < 0.02


def test_attributes_named_like_operations_do_not_clash():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.relu_1, self.max_pool2d = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.max_pool2d(F.max_pool2d(F.relu(self.relu_1(self.relu(x)) - 0.1), 2)).flatten(1)

    torch.manual_seed(0)
    net = Net()
    assert error(prepare(net, X)(X), in_evaluation(net, X)) < 1e-6
    assert error(convert_by_maximum(net, X).predict(X, 256), in_evaluation(net, X)) < 0.02


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weight_norms_are_resolved_on_the_copy_only():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2))
    x, before = torch.rand(6, 4), fingerprint(net)
    gm = prepare(net, x)
    assert fingerprint(net) == before and type(net[0]).__name__ == "ParametrizedLinear"
    assert type(gm.get_submodule("0")) is nn.Linear and torch.allclose(gm(x), net(x))
    net[0].weight  # noqa: B018 it still has one
    old = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)), nn.ReLU())
    with torch.no_grad():
        old(x)
    with pytest.raises(ConversionError, match=r"remove_weight_norm|weight norms"):
        prepare(old, x)


def test_the_input_of_a_batch():
    x = torch.rand(2, 3)
    assert all(input_of(batch) is x for batch in (x, (x, 1), [x, 2, 3], ((x, x), 1)))
    for batch in ((), {"x": x}, torch.tensor(1.0), 3):
        with pytest.raises(ValueError, match="a batch must be"):
            input_of(batch)


def test_rectifier():
    x = torch.tensor([-1.0, 0.5, 3.0])
    assert Rectifier()(x).tolist() == [0, 0.5, 3] and Rectifier(2.0)(x).tolist() == [0, 0.5, 2]
    with pytest.raises(ValueError, match="Rectifier: cap"):
        Rectifier(0.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_net_on_a_gpu_is_converted_there():
    net, x = small_net().cuda(), X.cuda()
    snn = convert_by_maximum(net, x)
    assert all(value.is_cuda for value in snn.state_dict().values() if isinstance(value, torch.Tensor))
    assert error(snn.predict(x, 256), in_evaluation(net, x)) < 0.02


def test_an_activation_without_channels_is_refused():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(3, 1), nn.Linear(1, 2)

        def forward(self, x):
            return self.out(self.fc(x).squeeze(1).relu().unsqueeze(1))

    with pytest.raises(ConversionError, match=r"without a dimension of channels.*Squeeze or index after it"):
        prepare(Flat(), torch.rand(4, 3))
