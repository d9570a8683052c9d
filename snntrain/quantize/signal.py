"""What prepare knows of the tensors between layers."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Group:
    """Layers whose outputs are added somewhere, and what uses the sums.

    Attributes:
        channels: of the outputs.
        steps: as many as channels, or 1 for all of them.
        learnable, power_of_two: as in Current.
        layers: paths.
        consumers: (path, divisor) of neurons and of the readout.
        merged_into: the group that this one has become a part of.
    """

    channels: int
    steps: int
    learnable: bool
    power_of_two: bool
    layers: list[str] = field(default_factory=list)
    consumers: list[tuple[str, int]] = field(default_factory=list)
    merged_into: "Group | None" = None

    def root(self) -> "Group":
        """The group that it belongs to now."""
        return self if self.merged_into is None else self.merged_into.root()

    def absorb(self, other: "Group") -> None:
        """Make another group, of as many channels, a part of this one."""
        self.layers += other.layers
        self.consumers += other.consumers
        self.learnable |= other.learnable
        self.power_of_two |= other.power_of_two
        self.steps = max(self.steps, other.steps)
        other.merged_into = self


@dataclass(frozen=True)
class Signal:
    """A tensor of integers.

    Attributes:
        base: 'spike', an activation of step 1; 'input', one of the input's step; or 'current', a sum of products.
        largest: of the integers of an activation, in absolute value.
        divisor: so many steps are worth one.
        height: what a spike is worth, [1] or [C]; None: 1.
        group: of a current.
    """

    base: str
    largest: int = 0
    divisor: int = 1
    height: Tensor | None = None
    group: Group | None = None

    @property
    def is_current(self) -> bool:
        return self.base == "current"

    def fits(self, other: "Signal") -> bool:
        """Whether both count in the same step."""
        if self.height is None or other.height is None:
            alike = self.height is other.height
        else:
            alike = torch.equal(self.height, other.height)
        return alike and (self.base, self.divisor) == (other.base, other.divisor)
