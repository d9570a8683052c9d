"""Every model of conf/model/: the papers' parameter counts, the same numbers in every mode, no dead parameter."""

import contextlib
import io
import itertools
import math
from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from sampled import sampled
from torch import Tensor, nn

from snntrain import create_model, functional, list_models, registry
from snntrain.encoding import DirectEncoder
from snntrain.layer import ThresholdDependentBatchNorm2d
from snntrain.neuron import OTTTLIFNode

T = 3
CIFAR, MNIST, IMAGENET, DVS, SHD = (3, 32, 32), (1, 28, 28), (3, 224, 224), (2, 128, 128), (700,)
ADDING, PIXEL = (2,), (1,)


class Published(NamedTuple):
    """What a paper says of a model: its parameters, in millions as printed, or None where it prints none."""

    model: str
    shape: tuple[int, ...]
    classes: int
    parameters: int  # ours, written down layer by layer in `by_hand` or given by torchvision's model
    millions: float | None = None
    settings: dict[str, Any] = {}
    neuron: Any = "LIFNode"


def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    return inputs * outputs * kernel**2


def conv_bn(inputs: int, outputs: int, kernel: int = 3) -> int:
    return conv(inputs, outputs, kernel) + 2 * outputs


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def chain(*channels: int) -> int:
    return sum(conv_bn(i, o) for i, o in itertools.pairwise(channels))


def stage(inputs: int, outputs: int, blocks: int) -> int:
    """A stage of basic blocks that begins by changing the channels, with a projection beside it."""
    return chain(inputs, *[outputs] * (2 * blocks)) + conv_bn(inputs, outputs, 1)


def attention(dim: int, inputs: int = 3) -> int:
    """q, k (and v) without bias, the projection with one; normalized each."""
    return (inputs + 1) * conv_bn(dim, dim, 1) + dim


def mlp(dim: int) -> int:
    return conv_bn(dim, 4 * dim, 1) + 4 * dim + conv_bn(4 * dim, dim, 1) + dim


def merge(inputs: int, outputs: int) -> int:
    return chain(inputs, outputs, outputs) + conv_bn(inputs, outputs, 1)


def ws(*channels: int) -> int:
    """Standardised convolutions with bias and gain."""
    return sum(conv(i, o) + 2 * o for i, o in itertools.pairwise(channels))


META = torch.device("meta")  # where modules have shapes but no numbers, which takes no time


def torchvisions(name: str, classes: int = 1000) -> int:
    with META:
        return sum(p.numel() for p in getattr(torchvision.models, name)(num_classes=classes).parameters())


def features_of(name: str) -> int:
    """The convolutional part of torchvision's VGG, whose convolutions have a bias that normalization makes useless."""
    with META:
        features = getattr(torchvision.models, name)().features
    biases = sum(module.bias.numel() for module in features if isinstance(module, nn.Conv2d))
    return sum(p.numel() for p in features.parameters()) - biases


def published() -> list[Published]:
    resnet19 = chain(3, *[128] * 7) + stage(128, 256, 3) + stage(256, 512, 2) + dense(512, 256) + dense(256, 10)
    resnet20 = chain(3, *[16] * 7) + stage(16, 32, 3) + stage(32, 64, 3) + dense(64, 10)
    spikformer = chain(3, 32, 64, 128, 256, 256) + 4 * (attention(256) + mlp(256)) + dense(256, 10)
    qkformer = (
        conv_bn(3, 48) + conv_bn(48, 96) + conv_bn(48, 96, 1) + attention(96, 2) + mlp(96)
        + merge(96, 192) + attention(192, 2) + mlp(192)
        + merge(192, 384) + 2 * (attention(384) + mlp(384))
    )  # fmt: skip
    plif = chain(1, 128, 128) + 128 * 49 * 2048 + 2048 * 100 + 4
    plif_dvs = chain(2, 128, 128, 128, 128, 128) + 128 * 16 * 512 + 512 * 110 + 7
    recurrent3 = dense(1, 64) + dense(64, 64) + dense(64, 256) + 2 * dense(256, 256) + dense(256, 10)
    soft = {"name": "LIFNode", "decay_input": False, "v_reset": None}  # the equations of OTTT's neuron
    return [
        Published("mlp", MNIST, 10, dense(784, 256) + dense(256, 10)),
        Published("csnn", MNIST, 10, chain(1, 32, 32) + 32 * 49 * 512 + dense(512, 10)),
        Published("csnn_sew", MNIST, 10, chain(1, 32, 32, 32) + 32 * 49 * 512 + dense(512, 10)),
        Published("csnn_loihi", MNIST, 10, 25 * 32 + 9 * 32 * 32 + 49 * 32 * 256 + dense(256, 10), neuron="IFNode"),
        Published("plif_net", MNIST, 10, plif, neuron="ParametricLIFNode"),
        Published("plif_net_dvs", DVS, 11, plif_dvs, neuron="ParametricLIFNode"),
        Published("vgg5", CIFAR, 10, chain(3, 64, 128, 128) + 128 * 64 * 4096 + 4096 * 10),
        Published("vgg9", CIFAR, 10, chain(3, 64, 64, 128, 128, 256, 256, 256) + 256 * 16 * 1024 + 1024 * 10),
        Published("vgg11", CIFAR, 10, features_of("vgg11_bn") + dense(512, 10)),
        Published("vgg16", CIFAR, 10, features_of("vgg16_bn") + dense(512, 10)),
        Published("resnet19", CIFAR, 10, resnet19, 12.63),
        Published("resnet20", CIFAR, 10, resnet20, 0.27),
        Published("sew_resnet18", IMAGENET, 1000, torchvisions("resnet18"), 11.69),
        Published("sew_resnet34", IMAGENET, 1000, torchvisions("resnet34"), 21.79),
        Published("ms_resnet18", IMAGENET, 1000, torchvisions("resnet18"), 11.69),
        Published("recurrent", SHD, 20, 700 * 128 + 128 * 128 + 128 * 20),
        Published("dense2", ADDING, 10, dense(2, 128) + dense(128, 128) + dense(128, 10)),
        Published("recurrent2", ADDING, 10, dense(2, 128) + 2 * dense(128, 128) + dense(128, 10)),
        Published("dense3", PIXEL, 10, dense(1, 64) + dense(64, 256) + dense(256, 256) + dense(256, 10), 0.09),
        Published("recurrent3", PIXEL, 10, recurrent3, 0.16),
        Published("forecast", (20,), 1, dense(20, 256) + 256 + dense(20, 1)),
        Published("reservoir", (20,), 1, dense(20, 1000) + dense(1020, 1)),
        Published("spikformer", CIFAR, 10, spikformer, 4.15),
        Published("qkformer", CIFAR, 10, qkformer + dense(384, 10)),
        Published("qkformer", CIFAR, 100, qkformer + dense(384, 100), 6.74),
        Published(
            "ottt_vgg", CIFAR, 10, ws(3, 64, 128, 256, 256, 512, 512, 512, 512) + dense(512, 10), 9.2, neuron=soft
        ),
    ]


PUBLISHED = published()
MODELS = sorted({case.model for case in PUBLISHED})
FOR_ANY_NEURON = [model for model in MODELS if model != "csnn_loihi"]  # whose blocks take those that Loihi has
# Small pictures, so that every model takes part in `make test`.
SMALL = {
    "recurrent": (20,),
    "dense2": (2,),
    "recurrent2": (2,),
    "dense3": (1,),
    "recurrent3": (1,),
    "forecast": (20,),
    "reservoir": (20,),
    "plif_net_dvs": (2, 32, 32),
    "plif_net": (1, 12, 12),
    "vgg5": (3, 8, 8),
}
SMALLER = {"vgg5": {"features": 64}, "vgg9": {"features": 64}, "plif_net": {"features": 64}}


def small(model: str, neuron: Any = None, **more: Any) -> tuple[nn.Module, tuple[int, ...]]:
    """The model for small pictures, by default with neurons that fire deep inside too but do not drown attention."""
    torch.manual_seed(1)
    shape = SMALL.get(model, (3, 16, 16))
    neuron = neuron or {"name": "IFNode", "v_threshold": 1.0 if "former" in model else 0.2, "backend": "torch"}
    return create_model(model, shape, 10, neuron, T=T, **SMALLER.get(model, {}), **more), shape


def test_all_models_are_listed():
    assert list_models() == MODELS
    assert list_models("*resnet*") == ["ms_resnet18", "resnet19", "resnet20", "sew_resnet18", "sew_resnet34"]


def test_a_wrong_name_or_setting_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match="Did you mean spikformer"):
        create_model("spikfomer", CIFAR, 10)
    with pytest.raises(ValueError, match=r"model.jion is not used by this model. Did you mean join"):
        create_model("sew_resnet18", CIFAR, 10, jion="and")
    with pytest.raises(ValueError, match="Did you mean tebn"):
        create_model("csnn", MNIST, 10, norm="tebnn")


@pytest.mark.parametrize("case", sampled(PUBLISHED, 3), ids=[f"{case.model}-{case.classes}" for case in PUBLISHED])
def test_parameter_counts_are_those_of_the_papers(case):
    with META if case.shape == IMAGENET else contextlib.nullcontext():
        net = create_model(case.model, case.shape, case.classes, case.neuron, **case.settings)
    ours = sum(parameter.numel() for parameter in net.parameters())
    assert ours == case.parameters
    if case.millions is not None:
        # ResNet-19: 12.63 M in later papers' tables; the layers that tdBN's own paper lists have 12.70 M.
        assert ours / 1e6 == pytest.approx(case.millions, rel=6e-3, abs=0.005)
    assert net.output_shapes[-1] == (case.classes,)


@pytest.mark.parametrize("model", sampled(MODELS, 3))
def test_every_parameter_learns_a_checkpoint_holds_it_all_and_every_mode_gives_the_same(model):
    """One test, because composing and building a model takes longer than running it."""
    net, shape = small(model)
    x_seq = torch.rand(T, 4, *shape) * 2
    nn.functional.cross_entropy(net(x_seq).mean(0), torch.tensor([0, 3, 6, 9])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.count_nonzero() > 0, name
    net.eval()
    x_seq = x_seq[:, :1]
    with torch.no_grad():
        assert_a_checkpoint_holds_it_all(net, x_seq)
        net.double()
        assert_every_mode_gives_the_same(net, x_seq.double())
        if model in FOR_ANY_NEURON:
            assert_a_static_picture_is_computed_once_up_to_the_first_neuron(net, x_seq[0].double())


def outputs(net: nn.Module, *inputs: Tensor) -> Tensor:
    """What the net gives for these inputs one after the other."""
    functional.reset_net(net)
    return torch.cat([net(x) for x in inputs])


def assert_a_checkpoint_holds_it_all(net: nn.Module, x_seq: Tensor) -> None:
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    expected = outputs(net, x_seq)
    for value in (*net.parameters(), *net.buffers()):
        value.zero_()
    net.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(outputs(net, x_seq), expected)


def assert_every_mode_gives_the_same(net: nn.Module, x_seq: Tensor) -> None:
    whole = outputs(net, x_seq)
    assert whole.abs().max() > 0
    torch.testing.assert_close(outputs(net, x_seq[:1], x_seq[1:]), whole)
    if any("ThresholdDependent" in type(module).__name__ for module in net.modules()):
        with pytest.raises(ValueError, match="whole sequence"):
            functional.set_step_mode(net, "s")
        torch.testing.assert_close(outputs(net, *x_seq.split(1)), whole)
    else:
        functional.set_step_mode(net, "s")
        torch.testing.assert_close(outputs(net, *x_seq).view_as(whole), whole)
        functional.reset_net(net)
        functional.set_step_mode(net, "m")
    functional.reset_net(net)
    assert all(not isinstance(value, Tensor) for _, value in functional.named_states(net))


def assert_a_static_picture_is_computed_once_up_to_the_first_neuron(net: nn.Module, x: Tensor) -> None:
    first = next(module for module in net.modules() if isinstance(getattr(module, "weight", None), nn.Parameter))
    batches = []
    first.register_forward_pre_hook(lambda module, inputs: batches.append(inputs[0]))
    once, many = outputs(net, DirectEncoder()(x, T)), outputs(net, x.expand(T, *x.shape).clone())
    assert functional.repeated_step(batches[0]) is not None and functional.repeated_step(batches[1]) is None
    torch.testing.assert_close(once, many)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("inputs, density", [(700, 0.05), (140, 0.02)])
def test_the_recurrent_model_fires_as_its_gain_says(inputs, density, seed):
    torch.manual_seed(seed)
    net = create_model("recurrent", (inputs,), 20, gain=6.0 * (0.05 / density) ** 0.5)
    hidden = []
    net.layers[2].sub_module[0].register_forward_hook(lambda module, inputs, y: hidden.append(y))
    net((torch.rand(30, 8, inputs) < density).float())
    spikes = torch.stack(hidden)
    assert 0.05 < spikes[:10].mean() < 0.1 and 0.05 < spikes[10:].mean() < 0.1
    assert (spikes.mean((0, 1)) > 0).float().mean() > 0.95


@pytest.mark.parametrize("model", sampled((model for model in FOR_ANY_NEURON if not model.startswith("recurrent")), 3))
def test_with_relu_every_feed_forward_model_is_an_ordinary_ann(model):
    net, shape = small(model, "ReLU", norm="bn")
    assert not net.is_stateful
    x = torch.rand(1, 2, *shape)
    with torch.no_grad():
        both = net.eval()(x.expand(2, *x.shape[1:]))
    torch.testing.assert_close(both[0], both[1])
    assert not any(getattr(module, "is_spiking", False) for module in net.modules())
    assert not any(isinstance(module, ThresholdDependentBatchNorm2d) for module in net.modules())


NORMS = {
    "tdbn": "ThresholdDependentBatchNorm2d",
    "tebn": "TemporalEffectiveBatchNorm2d",
    "bntt": "BatchNormThroughTime2d",
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", sampled(["csnn", "vgg9", "resnet20", "ms_resnet18"], 4))
def test_one_key_changes_the_normalization(model, norm):
    net, shape = small(model, norm=norm)
    assert NORMS[norm] in {type(module).__name__ for module in net.modules()}
    net(torch.rand(T, 2, *shape)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_tdbn_starts_from_the_threshold_and_the_branches_that_are_summed():
    net = create_model("resnet19", (3, 8, 8), 10, {"name": "LIFNode", "v_threshold": 0.5})
    gammas = {name: float(p.mean()) for name, p in net.named_parameters() if p.dim() == 1 and "weight" in name}
    assert gammas.pop("layers.0.1.weight") == 0.5
    assert sorted({round(value, 4) for value in gammas.values()}) == [0.3536, 0.5]


def test_an_online_net_gives_spikes_in_training_and_evaluation():
    from snntrain.config import compose
    from snntrain.config.check import check
    from snntrain.run.build import build_net

    net = build_net(check(compose(["model=ottt_vgg", "neuron=ottt_lif", "task=online"])))
    assert any(isinstance(module, OTTTLIFNode) for module in net.modules())
    x = torch.rand(2, 1, 8, 8)
    assert net(x).shape == (2, 10)
    functional.reset_net(net)
    assert net.eval()(x).shape == (2, 10)


# --- slow ------------------------------------------------------------------------------------------------------------


# Twenty steps learn nothing of samples of one or two numbers, or of one class.
LEARNING = [case for case in PUBLISHED if math.prod(case.shape) > 20]


@pytest.mark.slow
@pytest.mark.parametrize("case", LEARNING, ids=[f"{case.model}-{case.classes}" for case in LEARNING])
def test_the_loss_falls_in_twenty_steps_on_random_data(case):
    torch.manual_seed(0)
    net = create_model(case.model, case.shape, case.classes, case.neuron, T=2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    x, y = torch.rand(4, *case.shape), torch.randint(0, case.classes, (4,))
    losses = []
    for _ in range(20):
        functional.reset_net(net)
        loss = nn.functional.cross_entropy(net(DirectEncoder()(x, 2)).mean(0), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses


@pytest.mark.slow
@pytest.mark.parametrize("neuron", sorted(registry.names("neuron")))
@pytest.mark.parametrize("model", FOR_ANY_NEURON)
def test_every_model_composes_with_every_neuron_or_says_why_not(model, neuron):
    needed = {
        "CELIFNode": {"T": T},
        "DHLIFNode": {"branches": 1},
        "GatedLIFNode": {"T": T},
        "LIAFNode": {"act": "relu", "threshold_related": True},
        "CubaLIFNode": {"current_decay": 0.5, "voltage_decay": 0.25},
        "MaskedPSN": {"T": T, "k": 2},
        "PSN": {"T": T},
        "SlidingPSN": {"k": 2},
        **{f"Quantized{kind}": {"quant_params": {"bits": 8}} for kind in ("ATIF", "IFNode", "LIFNode")},
    }
    chosen = {"name": neuron, **needed.get(neuron, {})}
    online = neuron in ("OTTTLIFNode", "SLTTLIFNode")
    # A recurrent container hands its neurons single steps, which suits SLTT's, but not those that see whole sequences.
    is_fed_back = model.startswith("recurrent") and neuron in ("MaskedPSN", "OTTTLIFNode", "PSN")
    refused = is_fed_back or (online and model != "recurrent")
    if refused:
        with pytest.raises(ValueError, match=r"model\.layers\[.*(step_mode|fed back)"):
            small(model, chosen)
        return
    net, shape = small(model, chosen)
    with torch.no_grad():
        assert net(torch.rand(T, 2, *shape)).shape == (T, 2, 10)
