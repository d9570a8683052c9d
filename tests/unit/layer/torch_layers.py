"""The layers that wrap one of torch, with arguments and inputs."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from snntrain import layer

SPATIAL = {1: (8,), 2: (8, 6), 3: (6, 8, 4)}
LETTERS = {1: "T, N, C, L", 2: "T, N, C, H, W", 3: "T, N, C, D, H, W"}


class Case(NamedTuple):
    name: str
    arguments: dict[str, Any]
    sample: tuple[int, ...]  # one sample of one step
    letters: str | None = None  # of an 'm' input with exactly one more dim than an 's' input; None: other rank rules

    def build(self, **more: Any) -> nn.Module:
        torch.manual_seed(7)
        return randomized(getattr(layer, self.name)(**self.arguments, **more))

    def torch_layer(self) -> nn.Module:
        torch.manual_seed(7)
        return randomized(getattr(nn, self.name)(**self.torch_arguments()))

    def torch_arguments(self) -> dict[str, Any]:
        """The arguments with tuples for YAML's lists, which not every layer of torch takes."""
        return {key: tuple(value) if isinstance(value, list) else value for key, value in self.arguments.items()}

    def inputs(self, *leading: int, seed: int = 0) -> tuple[Tensor, ...]:
        x = torch.randn(*leading, *self.sample, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        if not self.name.startswith("MaxUnpool"):
            return (x,)
        # Indices that a pool over windows of 2 can give: an even position per value, in the row-major output.
        sizes = [2 * size for size in self.sample[1:]]
        grids = torch.meshgrid(*(torch.arange(0, size, 2) for size in sizes), indexing="ij")
        flat = torch.zeros_like(grids[0])
        for grid, size in zip(grids, sizes, strict=True):
            flat = flat * size + grid
        shift = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(seed))
        return x, flat + shift


def randomized(module: nn.Module) -> nn.Module:
    """Double precision, with running statistics and affine parameters that are not the trivial 0 and 1."""
    module = module.double()
    generator = torch.Generator().manual_seed(3)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and (name.startswith("running") or value.dim() == 1):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return module


def cases() -> list[Case]:
    table = [
        Case("Linear", {"in_features": 5, "out_features": 3}, (4, 5)),
        Case("BatchNorm1d", {"num_features": 3}, (3,)),
        Case("GroupNorm", {"num_groups": 2, "num_channels": 4, "eps": 0.1}, (4, 3, 2)),
        Case("GroupNorm", {"num_groups": 2, "num_channels": 4, "affine": False}, (4,)),
        Case("Flatten", {}, (3, 4, 2)),
        Case("Flatten", {"start_dim": 2, "end_dim": 3}, (3, 4, 2, 2)),
        Case("Flatten", {"start_dim": -2}, (3, 4, 2)),
        Case("Upsample", {"size": [5, 7], "mode": "bilinear", "align_corners": True}, (2, 3, 4)),
        Case("Upsample", {"scale_factor": 1.7, "mode": "linear", "recompute_scale_factor": True}, (2, 5)),
    ]
    for d, size in SPATIAL.items():
        sample, letters = (4, *size), LETTERS[d]
        table += [
            Case(f"Conv{d}d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3}, sample, letters),
            Case(
                f"Conv{d}d",
                {"in_channels": 4, "out_channels": 6, "kernel_size": [3] * d, "stride": [2] * d, "padding": [1] * d}
                | {"dilation": [1] * d, "groups": 2, "bias": False, "padding_mode": "circular"},
                sample,
                letters,
            ),
            Case(
                f"Conv{d}d",
                {"in_channels": 4, "out_channels": 2, "kernel_size": 3, "padding": "same"},
                sample,
                letters,
            ),
            Case(
                f"ConvTranspose{d}d",
                {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "output_padding": 1, "groups": 2},
                sample,
                letters,
            ),
            Case(f"BatchNorm{d}d", {"num_features": 4, "momentum": None}, sample, letters),
            Case(f"MaxPool{d}d", {"kernel_size": [2] * d, "dilation": [2] * d, "ceil_mode": True}, sample, letters),
            Case(
                f"MaxPool{d}d",
                {"kernel_size": 3, "stride": 2, "padding": 1, "return_indices": True},
                sample,
                letters,
            ),
            Case(f"MaxUnpool{d}d", {"kernel_size": [4] * d, "stride": 2, "padding": 1}, sample, letters),
            Case(f"AvgPool{d}d", {"kernel_size": [2] * d, "padding": 1, "count_include_pad": False}, sample, letters),
            Case(f"AvgPool{d}d", {"kernel_size": 2, "stride": [3] * d, "ceil_mode": True}, sample, letters),
            Case(f"AdaptiveAvgPool{d}d", {"output_size": [3] * d}, sample, letters),
            Case(f"AdaptiveMaxPool{d}d", {"output_size": 2, "return_indices": True}, sample, letters),
            Case("Upsample", {"scale_factor": [2] * d}, sample),
        ]
    return table


CASES = cases()
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case.name}" for i, case in enumerate(CASES)])
EXACT_RANK = [case for case in CASES if case.letters]
NAMES = sorted({case.name for case in CASES})
