"""The constructors that wrappers get from torch's: for the library's own layers and for those of a user."""

import inspect
import typing

import pytest
import torch
from torch import Tensor, nn

import snntrain.config.ranges  # noqa: F401  what torch's arguments may be
from snntrain import layer
from snntrain.binding import check_call
from snntrain.error import UsageError
from snntrain.layer import FoldedLayer


class Shuffle(FoldedLayer, nn.PixelShuffle):
    """Channels become pixels."""

    step_shapes = ("N, C, H, W",)


class Attention(FoldedLayer, nn.MultiheadAttention):
    """Of torch, with parameters that have no annotation."""


class Noise:
    """A mixin in front of a finished layer, with an argument of its own."""

    def __init__(self, *arguments: typing.Any, noise: float = 0.1, **options: typing.Any) -> None:
        super().__init__(*arguments, **options)
        self.noise = noise


class NoisyConv2d(Noise, layer.Conv2d):
    pass


class Square(layer.Conv2d):
    """Calls the constructor of ours."""

    def __init__(self, channels: int, step_mode: str = "s") -> None:
        super().__init__(channels, channels, 3, padding="same", step_mode=step_mode)


class OwnConv2d(FoldedLayer, nn.Conv2d):
    """Calls the constructor of torch."""

    step_shapes = ("N, C, H, W",)

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, device="meta")
        self.step_mode = "m"


class Chain(FoldedLayer, nn.Sequential):
    step_shapes = ("N, *",)


class Modules(layer.StepLayer, nn.ModuleList):
    pass


class TwoOfNothing(FoldedLayer, nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_any_layer_of_torch_learns_step_mode_by_a_class_statement():
    assert str(inspect.signature(Shuffle)) == "(upscale_factor: int, step_mode: str = 's') -> None"
    assert Shuffle(2, "m")(torch.zeros(3, 2, 4, 5, 6)).shape == (3, 2, 1, 10, 12)
    assert Shuffle(upscale_factor=2).step_mode == "s"
    assert list(inspect.signature(Attention).parameters)[-2:] == ["batch_first", "step_mode"]


def test_constructors_that_users_wrote_stay():
    noisy = NoisyConv2d(1, 2, 3, noise=0.5, step_mode="m")
    assert (noisy.noise, noisy.step_mode, noisy.kernel_size) == (0.5, "m", (3, 3))
    assert list(inspect.signature(Square).parameters) == ["channels", "step_mode"]
    assert (Square(2, "m").step_mode, Square(2).padding) == ("m", "same")
    assert OwnConv2d(2).weight.is_meta and OwnConv2d(2).step_mode == "m"


def test_constructors_of_containers_stay_torchs():
    assert len(Chain(nn.ReLU(), nn.ReLU())) == 2
    assert len(Modules([nn.ReLU()])) == 1
    assert TwoOfNothing().step_mode == "s"


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((1, 2), {}, "Conv2d: missing a required argument: 'kernel_size'"),
        ((1, 2, 3), {"device": "cpu"}, "Conv2d: got an unexpected keyword argument 'device'"),
        ((1, 2, 3, 1, 0, 1, 1, True, "zeros", "m", 0), {}, "Conv2d: too many positional arguments"),
        ((1, 2, 3, 1, 0, 1, 1, True, "zeros", "m"), {"step_mode": "m"}, "Conv2d: multiple values for .*'step_mode'"),
    ],
)
def test_wrong_arguments_are_refused_in_the_name_of_the_layer(arguments: tuple, options: dict, said: str):
    with pytest.raises(TypeError, match=f"^{said}"):
        layer.Conv2d(*arguments, **options)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Conv1d", {"in_channels": 1, "out_channels": 2, "kernel_size": [3], "padding": "same"}),
        ("Conv2d", {"in_channels": 1, "out_channels": 2, "kernel_size": [3, 5], "padding_mode": "circular"}),
        ("AvgPool1d", {"kernel_size": 2, "stride": None}),
        ("AvgPool2d", {"kernel_size": [2, 3], "stride": None, "divisor_override": None}),
        ("MaxPool3d", {"kernel_size": [2, 2, 2], "stride": None, "return_indices": True}),
        ("MaxUnpool2d", {"kernel_size": 2, "stride": None}),
        ("AdaptiveAvgPool2d", {"output_size": [3, None]}),
        ("Upsample", {"size": None, "scale_factor": [2, 1.5], "align_corners": None}),
        ("BatchNorm2d", {"num_features": 2, "eps": 1, "momentum": None, "step_mode": "m"}),
        ("SyncBatchNorm", {"num_features": 2, "process_group": None}),
    ],
)
def test_what_a_config_may_say_passes_its_check_and_builds(name: str, arguments: dict):
    check_call(getattr(layer, name), arguments, "a")
    getattr(layer, name)(**arguments)


@pytest.mark.parametrize(
    ("name", "key", "value", "wanted"),
    [
        ("Conv2d", "kernel_size", "x", "an integer ≥ 1"),
        ("Conv3d", "stride", [1, 2], "an integer or a list of 3"),
        ("MaxPool2d", "kernel_size", 2.5, "an integer ≥ 1"),
        ("MaxPool2d", "return_indices", 1, "true or false"),
        ("AvgPool1d", "stride", "2", "an integer ≥ 1 or null"),
        ("Linear", "bias", 0, "true or false"),
        ("GroupNorm", "step_mode", None, "text"),
    ],
)
def test_what_a_config_must_not_say_is_refused_with_its_type(name: str, key: str, value: object, wanted: str):
    target = getattr(layer, name)
    inferred = inspect.signature(target).parameters
    with pytest.raises(UsageError) as error:
        check_call(target, {key: value}, "a", inferred=inferred)
    assert str(error.value) == f"a.{key} must be {wanted}, got {'null' if value is None else repr(value)}."


def test_a_docstring_without_shapes_gets_those_of_a_step_and_of_a_sequence():
    assert Shuffle.__doc__ == (
        "Channels become pixels.\n\n"
        "Shapes: input [N, C, H, W] ('s'), [T, N, C, H, W] ('m'); the output keeps N, or T and N."
    )
    assert layer.Flatten.__doc__.count("Shapes") == layer.Conv2d.__doc__.count("Shapes") == 1
    assert "Shapes" not in Attention.__doc__ and "Shapes" not in Square.__doc__
