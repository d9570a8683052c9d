"""Let a CUDA-built torchvision be imported beside a CPU-only torch.

Its compiled library then fails to load (no CUDA runtime), and torchvision stops at `operator torchvision::nms does not
exist`, taking lightning with it. Only the declarations of two operators are missed; data sets, transforms and models
work without their kernels. Nothing is declared when the library loads, or when torchvision is absent.
"""

import importlib.util
import pathlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_declarations: list[object] = []  # they live as long as these objects


def declare_before_import() -> None:
    """Declare the operators that torchvision misses just before it is imported.

    Doing it at once would import torch, which takes a second in programs that can answer without it.
    """
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _BeforeTorchvision())


def declare_missing_operators() -> None:
    """Declare them now, if torchvision's own library does not load."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    if hasattr(torch.ops.torchvision, "nms"):
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
    _declarations.append(declarations)


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing: Python asks it, before all others, where torchvision is."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare_missing_operators()
