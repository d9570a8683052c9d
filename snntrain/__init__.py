"""snntrain: a config-driven training framework for spiking neural networks.

Its packages stand on floors and may import what is below them, see CONTRIBUTING.md.
"""

import importlib.util
import pathlib

import torch

from snntrain.cache_folder import give_libraries_a_home

__version__ = "0.1.0"


def _declare_missing_torchvision_operators() -> None:
    """Let a CUDA-built torchvision be imported beside a CPU-only torch.

    Its compiled library then fails to load (no CUDA runtime), and torchvision stops at `operator torchvision::nms
    does not exist`, taking lightning with it. Only the declarations of two operators are missed; datasets, transforms
    and models work without their kernels. Nothing is declared when the library loads, or when torchvision is absent.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    for library in sorted(pathlib.Path(spec.origin).parent.glob("_C*.*")):
        try:
            torch.ops.load_library(library)
            return
        except OSError:
            continue
    declarations = torch.library.Library("torchvision", "DEF")
    declarations.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declarations.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    globals()["_torchvision_declarations"] = declarations  # the declarations live as long as this object


def __getattr__(name: str) -> object:
    """create_model and list_models on first use: they read configs, and importing Hydra takes a second."""
    if name in ("create_model", "list_models"):
        from snntrain.config import zoo

        return getattr(zoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_declare_missing_torchvision_operators()
give_libraries_a_home()
