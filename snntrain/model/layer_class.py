"""The class that a layer's name in a list stands for: a registered one, or with torch.nn. in front one of torch's."""

import inspect
from collections.abc import Callable, Iterable

from torch import nn

from snntrain import registry
from snntrain.registry import did_you_mean

_OF_TORCH = "torch.nn."
_NO_LAYERS = ("container", "module", "loss")  # modules of torch.nn.modules whose classes are none


def layer_class(name: str, words: Iterable[str] = ()) -> Callable[..., nn.Module]:
    """The class, or function that makes a layer, for a name such as Linear or torch.nn.LayerNorm.

    Where snntrain has a subclass of torch's layer under the same name, that one: it knows time and repeated steps.

    Args:
        name: as in the list.
        words: more that could have been meant, such as names of blocks.

    Raises: ValueError with the nearest name if there is none.
    """
    short = name.removeprefix(_OF_TORCH)
    torchs = _of_torch(short)
    if name.startswith(_OF_TORCH):
        if torchs is None:
            near = did_you_mean(short, filter(_of_torch, dir(nn)))
            raise ValueError(f"{name!r} is not a layer of torch.nn.{near}")
        ours = registry.get("layer", short) if registry.has("layer", short) else None
        return ours if inspect.isclass(ours) and issubclass(ours, torchs) else torchs
    if registry.has("layer", name):
        return registry.get("layer", name)
    if torchs is not None:
        raise ValueError(f"{name!r} is not a registered layer; torch's is named torch.nn.{name}.")
    known = registry.names("layer")
    near = did_you_mean(name, [*known, *words])
    raise ValueError(
        f"{name!r} is not a registered layer.{near} Known: {', '.join((*words, *known))}. "
        "Your own class: @register('layer') in a module listed in plugins."
    )


def _of_torch(name: str) -> type[nn.Module] | None:
    found = getattr(nn, name, None) if name.isidentifier() else None
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        return None
    home, _, file = found.__module__.rpartition(".")
    return found if home == "torch.nn.modules" and file not in _NO_LAYERS else None
