"""How a torch layer learns the step modes: check the rank, join T and N, run torch's forward once, split again."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from snntrain.base import StepModule, map_tensors
from snntrain.functional import repeat, repeated_step, seq_to_ann_forward
from snntrain.layer.constructor import constructor_with_step_mode, parameters_of_torch
from snntrain.module_settings import settings_of
from snntrain.signature import merge_signature

# Shapes of one step by the end of the name of torch's class.
_SHAPES_OF_TORCH = {
    "BatchNorm1d": ("N, C", "N, C, L"),
    "1d": ("N, C, L",),
    "2d": ("N, C, H, W",),
    "3d": ("N, C, D, H, W",),
}


def wrong_shape(
    layer: StepModule, x: Tensor, steps: Sequence[str], fits_as_sequence: bool, sizes: str = ""
) -> ValueError:
    """The error for an input that is neither one of the shapes of a step, nor a sequence of such steps.

    Args:
        steps: the shapes, such as "N, C, L".
        fits_as_sequence: whether x has the shape that it should have in 'm'.
        sizes: what the letters stand for, to be told after the shapes.
    """
    leading = "T, " if layer.step_mode == "m" else ""
    shapes = " or ".join(f"[{leading}{step}]" for step in steps)
    hint = "; is step_mode still 's'?" if fits_as_sequence and layer.step_mode == "s" else "."
    return ValueError(
        f"{layer._title()}: the input in step_mode {layer.step_mode!r} must be {shapes}{sizes}, "
        f"got shape {list(x.shape)}{hint}"
    )


class StepLayer(StepModule):
    """Mixin to be put in front of a torch layer: step_mode in its constructor and its repr, and no empty sequences.

    A class that so far has the constructor of torch's layer gets one with the same parameters, but step_mode instead of
    device and dtype. One with a constructor of its own, or inherited from such a class, keeps that; `**common` in it
    stands for the arguments of the base, which come first. Where a docstring does not speak of shapes, it is completed
    from step_shapes.
    """

    # Shapes of one step, such as "N, C, L". An asterisk at the end stands for any number of dims, also for none. Where
    # torch's class says the number of dims in its name, they need not be written.
    step_shapes: tuple[str, ...] = ()

    if TYPE_CHECKING:  # editors cannot see the constructors that are made below

        def __init__(self, *arguments: Any, step_mode: str = "s", **options: Any) -> None: ...

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.step_shapes:
            names = [base.__name__ for base in cls.__mro__ if base.__module__.startswith("torch.nn.")]
            found = (shapes for end, shapes in _SHAPES_OF_TORCH.items() if any(name.endswith(end) for name in names))
            cls.step_shapes = next(found, ())
        constructor = vars(cls).get("__init__")
        if constructor is not None and "common" in inspect.signature(constructor).parameters:
            merge_signature(cls, positional=True)
        parameters = parameters_of_torch(cls)
        if not parameters:
            return
        cls.__init__ = constructor_with_step_mode(cls, parameters)
        if cls.step_shapes and cls.__doc__ and "Shapes" not in cls.__doc__:
            step, sequence = (
                " or ".join(f"[{leading}{shape}]" for shape in cls.step_shapes) for leading in ("", "T, ")
            )
            shapes = f"input {step} ('s'), {sequence} ('m'); the output keeps N, or T and N."
            cls.__doc__ = f"{inspect.cleandoc(cls.__doc__)}\n\nShapes: {shapes}"

    def check_steps(self, x: Tensor) -> None:
        """Raises: ValueError for a sequence of no steps."""
        if self.step_mode == "m" and x.dim() > 1 and x.shape[0] == 0:
            raise ValueError(f"{self._title()}: a sequence needs T ≥ 1 steps, got shape {list(x.shape)}.")

    def extra_repr(self) -> str:
        """torch's text where it has one, else the arguments; then the step mode."""
        settings = settings_of(self) | {"step_mode": self.step_mode}
        torchs = super().extra_repr()
        own = [f"{name}={value}" for name, value in settings.items() if not torchs or name == "step_mode"]
        return ", ".join(filter(None, [torchs, *own]))


class FoldedLayer(StepLayer):
    """Mixin to be put in front of a stateless torch layer: in 'm' the layer runs once on [T·N, *].

    On a sequence that repeats one step, as a direct encoder makes it, it runs on that step [N, *] alone. The rank that
    the input must have follows from step_shapes.
    """

    def forward(self, x: Tensor, *more: Tensor, **options: Any) -> Any:
        """x and more are folded together in 'm'; options reach torch's forward as they are."""
        if isinstance(x, fx.Proxy):
            return self.fx_node(x, more, options)
        self.check_rank(x)
        if self.step_mode == "s":
            return super().forward(x, *more, **options)
        step = None if more else self.step_to_run_once(x)
        if step is not None:
            return map_tensors(lambda y: repeat(y, x.shape[0]), self.forward_repeated(step, x.shape[0], **options))
        return seq_to_ann_forward((x, *more), partial(super().forward, **options))

    def step_to_run_once(self, x: Tensor) -> Tensor | None:
        """The step [N, *] that the sequence x repeats, if one run of the layer is enough for it."""
        return repeated_step(x)

    def forward_repeated(self, x: Tensor, T: int, **options: Any) -> Any:
        """The output of one step for a step x [N, *] that occurs T times."""
        return super().forward(x, **options)

    def check_rank(self, x: Tensor) -> None:
        """Raises: ValueError for an input of the wrong rank in 'm', for a sequence in 's', and for T = 0."""
        is_sequence = self._fits_a_step(x.dim() - 1)
        # Other ranks in 's' are left to torch; a shape that reads as one step and as a sequence is one step.
        fits = is_sequence if self.step_mode == "m" else self._fits_a_step(x.dim()) or not is_sequence
        if not fits:
            raise wrong_shape(self, x, self.step_shapes, fits_as_sequence=is_sequence)
        self.check_steps(x)

    def spatial_sizes(self, x: Tensor, output_size: Sequence[int] | None) -> Sequence[int] | None:
        """The output_size torch knows, from one that in 'm' may also be a full shape [T, N, C, *] such as that of x."""
        is_full = self.step_mode == "m" and output_size is not None and len(output_size) == x.dim()
        return list(output_size[3:]) if is_full else output_size

    def _fits_a_step(self, rank: int) -> bool:
        return any(
            rank >= shape.count(",") if shape.endswith("*") else rank == shape.count(",") + 1
            for shape in self.step_shapes
        )
