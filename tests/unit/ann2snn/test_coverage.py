"""Every row of the coverage table: converted right, or refused by name."""

import pytest
import torch
from small_conversion import convert_by_maximum, error, in_evaluation, settled
from torch import nn
from torch.nn import functional as F

from snntrain import layer
from snntrain.ann2snn.activation import rectifiers
from snntrain.ann2snn.graph import ConversionError, prepare
from snntrain.neuron import LIFNode, ReLU

IMAGES = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(1))
VECTORS = torch.rand(6, 12, generator=torch.Generator().manual_seed(2))


class Written(nn.Module):
    """A forward given as a function of the net and x, and the layers it uses."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.formula = forward
        for name, child in layers.items():
            self.add_module(name, child)

    def forward(self, x):
        return self.formula(self, x)


def conv(inputs=2, outputs=6, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def head(inputs=6 * 64):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 5))


def two_layers(activation):
    """activation is a function of x; it is used twice."""
    return Written(
        lambda net, x: net.last(activation(net.b(activation(net.a(x))))), a=conv(), b=conv(6, 6), last=head()
    )


def shared_module():
    act = nn.ReLU(inplace=True)
    return nn.Sequential(conv(), act, conv(6, 6), act, head())


def residual(inplace=False):
    def forward(net, x):
        x = net.act(net.a(x))
        y = net.act(net.bn(net.b(x)))
        y = net.c(y)
        y += x
        return net.last(net.act(y))

    return Written(
        forward, a=conv(), b=conv(6, 6), bn=nn.BatchNorm2d(6), c=conv(6, 6), act=nn.ReLU(inplace), last=head()
    )


CASES = {
    "F.relu": lambda: two_layers(F.relu),
    "F.relu inplace": lambda: two_layers(lambda x: F.relu(x, inplace=True)),
    "torch.relu": lambda: two_layers(torch.relu),
    "x.relu()": lambda: two_layers(lambda x: x.relu()),
    "x.relu_()": lambda: two_layers(lambda x: x.relu_()),
    "clamp(min=0)": lambda: two_layers(lambda x: x.clamp(min=0)),
    "clamp_min": lambda: two_layers(lambda x: torch.clamp_min(x, 0.0)),
    "inplace": lambda: nn.Sequential(conv(), nn.ReLU(inplace=True), conv(6, 6), nn.ReLU(inplace=True), head()),
    "one ReLU used twice": shared_module,
    "snntrain ReLU": lambda: nn.Sequential(conv(), ReLU(), conv(6, 6), ReLU(step_mode="m"), head()),
    "ReLU6": lambda: nn.Sequential(conv(), nn.ReLU6(), conv(6, 6), nn.ReLU6(), head()),
    "F.relu6": lambda: two_layers(lambda x: F.relu6(x * 20)),
    "Hardtanh(0, a)": lambda: nn.Sequential(conv(), nn.Hardtanh(0, 0.2), conv(6, 6), nn.Hardtanh(0.0, 0.1), head()),
    "F.hardtanh": lambda: two_layers(lambda x: F.hardtanh(x, 0, 0.15)),
    "clamp(0, a)": lambda: two_layers(lambda x: x.clamp(0, 0.15)),
    "torch.clip": lambda: two_layers(lambda x: torch.clip(x, min=0, max=0.15)),
    "Conv → BN": lambda: nn.Sequential(
        conv(bias=False), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 6), nn.BatchNorm2d(6), nn.ReLU(), head()
    ),
    "Conv → BN, two users": lambda: Written(
        lambda net, x: net.last(F.relu(net.bn(net.a(x))) + F.relu(net.a(x) * 0.5)),
        a=conv(),
        bn=nn.BatchNorm2d(6),
        last=head(),
    ),
    "BN first": lambda: nn.Sequential(nn.BatchNorm2d(2), conv(), nn.ReLU(), head()),
    "BN → ReLU": lambda: nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 6), nn.ReLU(), head()),
    "ReLU → BN → padded conv": lambda: nn.Sequential(
        conv(), nn.ReLU(), nn.BatchNorm2d(6), conv(6, 6), nn.ReLU(), head()
    ),
    "ReLU → BN → conv": lambda: nn.Sequential(
        conv(), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, groups=2), nn.ReLU(), head(4 * 36)
    ),
    "ReLU → BN → MaxPool": lambda: nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(6), nn.MaxPool2d(2), head(6 * 16)),
    "ReLU → MaxPool": lambda: nn.Sequential(conv(), nn.ReLU(), conv(6, 6), nn.ReLU(), nn.MaxPool2d(2), head(6 * 16)),
    "F.max_pool2d": lambda: Written(
        lambda net, x: net.last(F.max_pool2d(F.relu(net.b(F.relu(net.a(x)))), 2)),
        a=conv(),
        b=conv(6, 6),
        last=head(6 * 16),
    ),
    "MaxPool → ReLU": lambda: nn.Sequential(
        conv(), nn.ReLU(), conv(6, 6), nn.MaxPool2d(3, 2, 1), nn.ReLU(), head(6 * 16)
    ),
    "MaxPool last": lambda: nn.Sequential(conv(), nn.ReLU(), conv(6, 6), nn.AdaptiveMaxPool2d(2), nn.Flatten()),
    "MaxPool first": lambda: nn.Sequential(nn.MaxPool2d(2), conv(), nn.ReLU(), head(6 * 16)),
    "cat → MaxPool": lambda: Written(
        lambda net, x: net.last(F.max_pool2d(torch.cat([F.relu(net.a(x)), F.relu(net.b(x))], 1), 2)),
        a=conv(),
        b=conv(),
        last=head(12 * 16),
    ),
    "ReLU → MaxPool → MaxPool": lambda: nn.Sequential(
        conv(), nn.ReLU6(), nn.MaxPool2d(2), nn.MaxPool2d(2), head(6 * 4)
    ),
    "AvgPool": lambda: nn.Sequential(
        conv(), nn.ReLU(), nn.AvgPool2d(2), conv(6, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), head(6)
    ),
    "F.avg_pool2d": lambda: Written(
        lambda net, x: net.last(F.adaptive_avg_pool2d(F.avg_pool2d(F.relu(net.a(x)), 2), 2).view(x.size(0), -1)),
        a=conv(),
        last=nn.Linear(24, 5),
    ),
    "mean over space": lambda: Written(
        lambda net, x: net.last(F.relu(net.a(x)).mean((2, 3))), a=conv(), last=nn.Linear(6, 5)
    ),
    "Dropout": lambda: nn.Sequential(
        conv(), nn.ReLU(), nn.Dropout2d(), conv(6, 6), nn.Dropout(), nn.ReLU(), layer.Dropout(), nn.Identity(), head()
    ),
    "F.dropout": lambda: Written(
        lambda net, x: net.last(F.dropout(F.relu(net.a(x)), 0.5, net.training)), a=conv(), last=head()
    ),
    "residual add": residual,
    "residual add, inplace": lambda: residual(inplace=True),
    "residual of the input": lambda: Written(
        lambda net, x: net.last(F.relu(x + net.b(F.relu(net.a(x))))), a=conv(), b=conv(6, 2), last=head(128)
    ),
    "concat": lambda: Written(
        lambda net, x: net.last(F.relu(net.b(torch.cat((F.relu(net.a(x)), x), dim=1)))),
        a=conv(),
        b=conv(8, 6),
        last=head(),
    ),
    "snntrain Residual, add": lambda: nn.Sequential(
        conv(),
        ReLU(),
        layer.Residual(nn.Sequential(layer.Conv2d(6, 6, 3, padding=1), layer.BatchNorm2d(6), ReLU()), None),
        layer.Flatten(),
        layer.Linear(384, 5),
    ),
    "snntrain Branches, concat": lambda: nn.Sequential(
        conv(),
        ReLU(),
        layer.Branches([layer.Conv2d(6, 2, 1), layer.WSConv2d(6, 2, 3, padding=1)]),
        ReLU(),
        layer.AvgPool2d(2),
        head(64),
    ),
    "BN and ReLU6 after a sum": lambda: Written(
        lambda net, x: net.last(F.relu6(net.bn(net.a(x) - 2 * F.relu(net.b(x))))),
        a=conv(),
        b=conv(),
        bn=nn.BatchNorm2d(6),
        last=head(),
    ),
    "output is an activation": lambda: nn.Sequential(conv(), nn.ReLU(), conv(6, 3), nn.ReLU()),
    "no activation": lambda: nn.Sequential(conv(), nn.BatchNorm2d(6), head()),
    "upsampling": lambda: nn.Sequential(
        conv(),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.AvgPool2d(4),
        head(4 * 64),
    ),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(conv()), nn.ReLU(), head()),
    "optional arguments": lambda: Optional(),
    "padding modes, dilation": lambda: nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(2, 6, 3),
        nn.ReLU(),
        nn.BatchNorm2d(6),
        conv(6, 6, padding_mode="circular"),
        nn.ReLU(),
        head(),
    ),
}


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.last = conv(), head()

    def forward(self, x, mask=None, scale=2.0, raw=False):
        x = F.relu(self.a(x))
        if mask is not None:
            x = x * mask
        return x if raw else self.last(x)


@pytest.mark.parametrize("case", CASES)
def test_what_is_converted_is_converted_right(case):
    torch.manual_seed(0)
    net = settled(CASES[case](), IMAGES)
    snn = convert_by_maximum(net, IMAGES)
    assert error(snn.predict(IMAGES, 256), in_evaluation(net, IMAGES)) < 0.02
    assert all(node.theta > 0 for node in snn.neurons.values())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_norms_and_pools_of_every_rank(dims):
    torch.manual_seed(0)
    x = torch.rand(4, 2, *[6] * dims)
    make = {name: getattr(nn, f"{name}{dims}d") for name in ("Conv", "BatchNorm", "MaxPool", "AdaptiveAvgPool")}
    net = nn.Sequential(
        *(make["Conv"](2, 6, 3, padding=1), make["BatchNorm"](6), nn.ReLU(), make["MaxPool"](2)),
        *(make["Conv"](6, 6, 3, padding=1), make["BatchNorm"](6), nn.ReLU(), make["AdaptiveAvgPool"](1), head(6)),
    )
    settled(net, x)
    assert not any("Norm" in type(m).__name__ or "Affine" in type(m).__name__ for m in prepare(net, x).modules())
    assert error(convert_by_maximum(net, x).predict(x, 256), in_evaluation(net, x)) < 0.02


def test_linear_and_norm_of_vectors_and_of_sequences():
    torch.manual_seed(0)
    x = torch.rand(16, 12)
    net = settled(
        nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.BatchNorm1d(20), nn.Linear(20, 5)), x
    )
    assert [type(m).__name__ for m in prepare(net, x).children()] == ["Linear", "Rectifier", "Linear"]
    assert error(convert_by_maximum(net, x).predict(x, 256), in_evaluation(net, x)) < 0.02
    # Channels of a norm are dim 1, features of a linear layer the last: equal numbers must not deceive.
    x = torch.rand(4, 7, 12)
    net = settled(nn.Sequential(nn.Linear(12, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Flatten(), nn.Linear(49, 5)), x)
    assert error(convert_by_maximum(net, x).predict(x, 256), in_evaluation(net, x)) < 0.02


@pytest.mark.parametrize("case, count", [("one ReLU used twice", 2), ("residual add, inplace", 3), ("F.relu", 2)])
def test_each_use_of_an_activation_has_neurons_of_its_own(case, count):
    gm = prepare(CASES[case](), IMAGES)
    found = rectifiers(gm)
    assert len(found) == count and len(set(map(id, found.values()))) == count
    assert len(convert_by_maximum(CASES[case](), IMAGES).neurons) == count


def test_a_tensor_used_after_an_operation_in_place_is_the_changed_one():
    """y is rectified when the sum takes it, although the sum names the tensor from before."""

    def forward(net, x):
        y = net.a(x)
        z = F.relu_(y)
        return net.last(net.b(z) + y)

    torch.manual_seed(0)
    net = Written(forward, a=conv(), b=conv(6, 6), last=head())
    assert error(convert_by_maximum(net, IMAGES).predict(IMAGES, 256), in_evaluation(net, IMAGES)) < 0.02


def test_dropout_hands_on_the_tensor_that_is_changed_later():
    def forward(net, x):
        y = net.a(x)
        z = net.drop(y)
        return net.last(F.relu_(y) + z)

    torch.manual_seed(0)
    net = Written(forward, a=conv(), drop=nn.Dropout(), last=head())
    assert error(convert_by_maximum(net, IMAGES).predict(IMAGES, 256), in_evaluation(net, IMAGES)) < 0.02


def test_thresholds_are_capped():
    torch.manual_seed(0)
    net = nn.Sequential(conv(), nn.Hardtanh(0, 0.05), head())
    (neurons,) = convert_by_maximum(net, IMAGES).neurons.values()
    assert neurons.theta == pytest.approx(0.05)


REFUSED = {
    "Softmax": lambda: nn.Sequential(conv(), nn.ReLU(), head(), nn.Softmax(1)),
    "softmax": lambda: Written(lambda net, x: F.softmax(net.a(x), 1), a=conv()),
    "log_softmax": lambda: Written(lambda net, x: F.log_softmax(net.a(x), 1), a=conv()),
    "GELU": lambda: nn.Sequential(conv(), nn.GELU(), head()),
    "gelu": lambda: Written(lambda net, x: F.gelu(net.a(x)), a=conv()),
    "SiLU": lambda: nn.Sequential(conv(), nn.SiLU(), head()),
    "LeakyReLU": lambda: nn.Sequential(conv(), nn.LeakyReLU(), head()),
    "Hardtanh": lambda: nn.Sequential(conv(), nn.Hardtanh(), head()),
    "clamp": lambda: Written(lambda net, x: net.a(x).clamp(-1, 1), a=conv()),
    "LayerNorm": lambda: nn.Sequential(conv(), nn.LayerNorm([6, 8, 8]), nn.ReLU()),
    "GroupNorm": lambda: nn.Sequential(conv(), nn.GroupNorm(2, 6), nn.ReLU()),
    "BatchNorm2d": lambda: nn.Sequential(conv(), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU()),
    "LIFNode": lambda: nn.Sequential(conv(), LIFNode(), head()),
    "mul": lambda: Written(lambda net, x: F.relu(net.a(x)) * F.relu(net.b(x)), a=conv(), b=conv()),
    "truediv": lambda: Written(lambda net, x: 1 / (F.relu(net.a(x)) + 1), a=conv()),
    "pow": lambda: Written(lambda net, x: F.relu(net.a(x)) ** 2, a=conv()),
    "dropout": lambda: Written(lambda net, x: F.dropout(F.relu(net.a(x))), a=conv()),
    "MaxPool2d": lambda: nn.Sequential(conv(), nn.MaxPool2d(2, return_indices=True)),
    "Residual": lambda: nn.Sequential(layer.Residual(conv(2, 2), join="and")),
    "amax": lambda: Written(lambda net, x: F.relu(net.a(x)).amax((2, 3)), a=conv()),
    "sum": lambda: Written(lambda net, x: F.relu(net.a(x)).sum(0, keepdim=True) + net.a(x), a=conv()),
    "flatten": lambda: Written(lambda net, x: torch.flatten(F.relu(net.a(x))), a=conv()),
    "dict": lambda: Written(lambda net, x: {"y": net.a(x)}, a=conv()),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_refused_by_name(kind):
    with pytest.raises(ConversionError, match=rf"\({kind}\) cannot be converted: .+\. \w.+\.$"):
        prepare(REFUSED[kind](), IMAGES)


class Divided(nn.Module):
    """What each sample gives depends on how many there are."""

    def forward(self, x):
        return torch.relu(x) / x.size(0)


class Deciding(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class TwoInputs(nn.Module):
    def forward(self, x, other):
        return x + other


def test_refusals_name_the_place():
    with pytest.raises(ConversionError, match=r"module 1 in the net \(Deciding\) .*`return x if x.sum"):
        prepare(nn.Sequential(conv(), Deciding()), IMAGES)
    with pytest.raises(ConversionError, match=r"several inputs \(x, other\)"):
        prepare(TwoInputs(), IMAGES)
    with pytest.raises(ConversionError, match=r"truediv in 1 \(truediv\).*depends on the others in the batch"):
        prepare(nn.Sequential(conv(), Divided()), IMAGES)
    with pytest.raises(ConversionError, match=r"^ann2snn: 1\.0 \(Tanh\).*ReLU"):
        prepare(nn.Sequential(conv(), nn.Sequential(nn.Tanh())), IMAGES)


def test_an_activation_that_is_pooled_and_used_otherwise_is_refused():
    net = Written(
        lambda net, x: net.last(net.pool(y := net.act(net.a(x)))) + y.mean((1, 2, 3)).unsqueeze(1),
        a=conv(), act=nn.ReLU(), pool=nn.MaxPool2d(2), last=head(6 * 16),
    )  # fmt: skip
    with pytest.raises(ConversionError, match=r"act .*pool pools it, and mean takes it as well"):
        prepare(net, IMAGES)


def test_changes_that_a_trace_cannot_see_are_refused():
    hooked = nn.Sequential(conv(), nn.ReLU(), Written(lambda net, x: x + 1))
    hooked[2].register_forward_hook(lambda module, inputs, out: out * 1.5)
    with pytest.raises(ConversionError, match="deviates from the net"):
        prepare(hooked, IMAGES)

    def forward(net, x):
        y = net.a(x)
        y[:, :3].relu_()
        return y

    with pytest.raises(ConversionError, match="deviates from the net"):
        prepare(Written(forward, a=conv()), IMAGES)
