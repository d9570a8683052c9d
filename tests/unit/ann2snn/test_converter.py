"""The seed converter: scales against their formulas, names, both static and whole use."""

import copy
import importlib.metadata

import numpy as np
import pytest
import torch
from small_conversion import error, in_evaluation, settled
from torch import fx, nn
from torch.nn import functional as F
from watched_nets import fingerprint

from snntrain.ann2snn.converted import ConversionWarning
from snntrain.ann2snn.converter import Converter
from snntrain.ann2snn.scaler import VoltageHook, VoltageScaler
from snntrain.functional import reset_net
from snntrain.neuron import IFNode

BATCHES = list(torch.rand(3, 8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)),
    )
    return settled(net, BATCHES[0])


def rate(snn: nn.Module, x: torch.Tensor, T: int) -> torch.Tensor:
    reset_net(snn)
    return sum(snn(x) for _ in range(T)) / T


@pytest.mark.parametrize("momentum", [0.1, 0.5])
@pytest.mark.parametrize(
    "mode, statistic",
    [
        ("max", np.max),
        ("Max", np.max),
        ("99.9%", lambda a: np.percentile(a, 99.9)),
        ("90%", lambda a: np.percentile(a, 90)),
        (0.5, lambda a: 0.5 * np.max(a)),
    ],
)
def test_scales_are_those_of_the_formulas(mode, statistic, momentum):
    net = small_net()
    wanted: dict[int, float] = {}

    def track(index):
        def see(module, inputs, out):
            s_t = statistic(out.double().numpy())
            wanted[index] = s_t if index not in wanted else (1 - momentum) * wanted[index] + momentum * s_t

        return see

    watched = copy.deepcopy(net).eval()
    for index, act in enumerate([m for m in watched if isinstance(m, nn.ReLU)]):
        act.register_forward_hook(track(index))
    with torch.no_grad():
        for x in BATCHES:
            watched(x)
    snn = Converter([(x, 0) for x in BATCHES], mode=mode, momentum=momentum)(net)
    for index in range(3):
        parts = list(snn.get_submodule(f"snn tailor.{index}").children())
        assert parts[2].scale.item() == pytest.approx(wanted[index], abs=1e-6)
        assert parts[0].scale.item() == pytest.approx(1 / wanted[index], rel=1e-5)


def test_the_rate_approaches_the_output_and_the_net_stays_as_it_is():
    net = small_net().train()
    before = fingerprint(net)
    snn = Converter(BATCHES)(net)
    assert fingerprint(net) == before
    assert isinstance(snn, fx.GraphModule) and not any(module.training for module in snn.modules())
    wanted = in_evaluation(net, BATCHES[0])
    assert error(rate(snn, BATCHES[0], 256), wanted) < 0.02 < error(rate(snn, BATCHES[0], 4), wanted)
    assert not {p.data_ptr() for p in snn.parameters()} & {p.data_ptr() for p in net.parameters()}


def test_names_and_a_saved_state(tmp_path):
    net = small_net()
    snn = Converter(BATCHES, mode="99%")(net)
    for index in range(3):
        parts = list(snn.get_submodule(f"snn tailor.{index}").children())
        assert [type(part) for part in parts] == [VoltageScaler, IFNode, VoltageScaler]
        assert parts[1].v_threshold == 1.0 and parts[1].v_reset is None
    assert {"snn tailor.2.0.scale", "snn tailor.2.2.scale"} <= set(snn.state_dict())
    torch.save(snn.state_dict(), tmp_path / "snn.pt")
    other = Converter([x * 3 for x in BATCHES])(net)
    other.load_state_dict(torch.load(tmp_path / "snn.pt", weights_only=True))
    assert torch.equal(rate(other, BATCHES[1], 8), rate(snn, BATCHES[1], 8))


def test_the_steps_can_be_taken_one_by_one_on_a_traced_net():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.bn, self.act, self.b = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            return F.relu(F.max_pool2d(self.act(self.b(self.act(self.bn(self.a(x))))), 2))

    torch.manual_seed(0)
    net = settled(Net(), BATCHES[0]).eval()
    gm = fx.symbolic_trace(net)
    assert Converter.fuse(gm, fuse_flag=False) is gm and hasattr(gm, "bn")
    assert Converter.fuse(gm) is gm and not hasattr(gm, "bn") and hasattr(net, "bn")
    gm = Converter.set_voltagehook(gm, mode=0.8, momentum=0.3)
    hooks = [m for m in gm.modules() if isinstance(m, VoltageHook)]
    assert len(hooks) == 3 and all(hook.mode == 0.8 and hook.momentum == 0.3 for hook in hooks)
    for x in BATCHES:
        assert error(gm(x), net(x)) < 1e-5  # hooks hand on what they see
    scales = [hook.scale.item() for hook in hooks]
    gm = Converter.replace_by_ifnode(gm)
    assert [gm.get_submodule(f"snn tailor.{i}.2").scale.item() for i in range(3)] == pytest.approx(scales)
    assert not any(isinstance(m, (nn.ReLU, VoltageHook)) for m in gm.modules())


@pytest.mark.parametrize(
    "layers", [(nn.Linear(6, 5), nn.BatchNorm1d(5)), (nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 5, 2), nn.BatchNorm1d(5))]
)
def test_fusion_in_the_form_of_evaluation(layers):
    net = settled(nn.Sequential(*layers), torch.randn(16, 6))
    gm = Converter.fuse(fx.symbolic_trace(net))  # still in training mode
    assert not any(isinstance(m, nn.BatchNorm1d) for m in gm.modules())
    x = torch.randn(4, 6)
    assert torch.allclose(gm(x), in_evaluation(net, x), atol=1e-6)


def test_a_convolution_with_other_users_is_not_fused():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.a(x)
            return self.bn(y) + y

    net = settled(Net(), BATCHES[0]).eval()
    gm = Converter.fuse(fx.symbolic_trace(net))
    assert hasattr(gm, "bn") and torch.equal(gm(BATCHES[0]), net(BATCHES[0]))


def test_a_dead_activation_gets_a_safe_scale_and_is_named():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(net[0].bias, -100.0)
    with pytest.warns(ConversionWarning, match=r"ann2snn: 1 is dead"):
        snn = Converter([torch.rand(5, 4)])(net)
    assert all(torch.isfinite(value).all() for value in snn.state_dict().values())
    assert torch.isfinite(rate(snn, torch.rand(2, 4) * 1000, 8)).all()


def test_arguments():
    with pytest.raises(ValueError, match=r"Converter: mode must be 'max', a percentage"):
        Converter(BATCHES, mode="min")
    with pytest.raises(ValueError, match="Converter: momentum"):
        Converter(BATCHES, momentum=1.5)
    with pytest.raises(ValueError, match="fuse_flag"):
        Converter(BATCHES, fuse_flag=1)
    with pytest.raises(ValueError, match="no batches"):
        Converter([])(small_net())
    with pytest.raises(ValueError, match="a batch must be"):
        Converter([{"x": BATCHES[0]}])(small_net())
    unfused = Converter(iter(BATCHES), fuse_flag=False)(small_net())  # an iterator that can be used once
    assert sum(isinstance(m, nn.BatchNorm2d) for m in unfused.modules()) == 2
    wanted = in_evaluation(small_net(), BATCHES[0])
    assert error(rate(unfused, BATCHES[0], 256), wanted) < 0.02


@pytest.mark.optional
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["max", "99.9%", 0.6])
def test_scales_and_steps_are_those_of_spikingjelly(mode):
    try:
        found = importlib.metadata.version("spikingjelly")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != "2.0.0":
        pytest.skip(f"compared with spikingjelly==2.0.0, found {found}")
    peer = pytest.importorskip("spikingjelly.activation_based.ann2snn", exc_type=ImportError)
    reset = pytest.importorskip("spikingjelly.activation_based.functional", exc_type=ImportError).reset_net
    net, loader = small_net().eval(), [(x, torch.zeros(8)) for x in BATCHES]
    theirs = peer.Converter(peer.RateCodingRecipe(loader, mode=mode)).convert(copy.deepcopy(net))
    ours = Converter(loader, mode=mode)(net)
    scales = [[m.scale.item() for m in gm.modules() if type(m).__name__ == "VoltageScaler"] for gm in (theirs, ours)]
    assert len(scales[1]) == 6 and scales[1] == pytest.approx(scales[0], rel=1e-6)
    reset(theirs)
    reset_net(ours)
    for _ in range(4):
        assert torch.allclose(ours(BATCHES[2]), theirs(BATCHES[2]), atol=1e-5)
