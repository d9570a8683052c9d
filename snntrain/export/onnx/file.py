"""A net as an ONNX file, and the same in onnxruntime."""

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.export.error import OnnxExportError
from snntrain.export.onnx.program import program_of, traceable
from snntrain.files import replacing
from snntrain.graph.error import first_line

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "x_seq", "y_seq"


def check_installed() -> None:
    """Raises: ImportError naming the packages that are missing and how to install them."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"ONNX needs {', '.join(missing)}, not found in this Python: pip install {' '.join(missing)}, or "
            "pip install snntrain[onnx]."
        )


@dataclass(frozen=True)
class ExportedOnnx:
    """A net as ONNX.

    Attributes:
        model: what the file holds: x_seq [T, N, *] → y_seq [T, N, K].
        watched: the same graph, whose further outputs are those of the layers with states, [T, N, *].
        layers: their paths in the net.
        T: time steps; N is free.
    """

    model: bytes
    watched: bytes
    layers: tuple[str, ...]
    T: int

    def outputs(self, x_seq: Tensor) -> Tensor:
        """y_seq [T, N, K] of the file, computed by onnxruntime."""
        return self._run(self.model, x_seq)[0]

    def layer_outputs(self, x_seq: Tensor) -> dict[str, Tensor]:
        """Path → outputs [T, N, *] of the layers with states, computed by onnxruntime."""
        return dict(zip(self.layers, self._run(self.watched, x_seq)[1:], strict=True))

    def _run(self, model: bytes, x_seq: Tensor) -> list[Tensor]:
        if len(x_seq) != self.T:
            remedy = "Export the net with an example of as many steps."
            raise OnnxExportError("", f"the graph runs {self.T} steps, and the input has {len(x_seq)}", remedy)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [torch.from_numpy(each) for each in session.run(None, {INPUT: x_seq.detach().cpu().numpy()})]


@torch.no_grad()
def export_onnx(net: nn.Module, example: Tensor, path: str | os.PathLike | None = None) -> ExportedOnnx:
    """Write a net as an ONNX file, in which a layer with a state is one Scan over time.

    The graph is not rewritten for speed: a rewriting that joins (h − θ) − ε would move thresholds. onnxruntime
    optimizes it when it loads it.

    Args:
        net: [T, N, *] → [T, N, K] in step mode 'm', as in export_program; it stays as it is.
        example: an input [T, N, *] of float32; T is that of the file, N is free.
        path: of a file to write, whole or not at all; None: none.

    Raises: OnnxExportError naming a module that ONNX cannot hold; ImportError if onnx, onnxscript or onnxruntime is
    missing.
    """
    check_installed()
    form = traceable(net)
    form.is_watched = True
    program = program_of(form, example.detach().float().cpu())
    spec = program.call_spec.out_spec
    layers = tuple(spec.unflatten(range(spec.num_leaves))[1])
    model = _onnx_of(program, [OUTPUT, *(f"layer.{path}" for path in layers)])
    watched = _serialized(model)
    del model.graph.outputs[1:]
    exported = ExportedOnnx(_serialized(model), watched, layers, len(example))
    if path is not None:
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(exported.model)
    return exported


def _onnx_of(program: torch.export.ExportedProgram, outputs: list[str]) -> Any:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from onnxscript import optimizer

    try:
        with _quiet():
            model = torch.onnx.export(
                program, (), dynamo=True, optimize=False, verbose=False, input_names=[INPUT], output_names=outputs
            ).model
            optimizer.inline(model)
            optimizer.fold_constants(model)
            optimizer.remove_unused_nodes(model)
            ClearMetadataAndDocStringPass()(model)  # the paths of this machine's source files
    except Exception as error:  # torch.onnx raises errors of its own without a common base
        reason = f"torch.onnx cannot write it: {first_line(error.__cause__ or error)}"
        raise OnnxExportError("", reason, "Replace the layer with that operation.") from error
    return model


def _serialized(model: Any) -> bytes:
    import onnx_ir

    return onnx_ir.to_proto(model).SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the libraries say about themselves."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
