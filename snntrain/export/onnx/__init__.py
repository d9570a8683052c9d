"""Nets as programs of torch.export and as ONNX files, compared with the net spike by spike.

It imports graph, quantize and the net floor; onnx, onnxscript and onnxruntime only where they are used.

program = export_program(net, example)                 a torch.export.ExportedProgram
exported = export_onnx(net, example, "net.onnx")       a file, and onnxruntime with it
compare_onnx(exported, net, x_seq).mismatches          spikes that rounding does not explain
"""

from snntrain.export.onnx.comparison import TOLERANCE, OnnxComparison, compare_onnx
from snntrain.export.onnx.file import ExportedOnnx, check_installed, export_onnx
from snntrain.export.onnx.program import export_program

__all__ = [
    "TOLERANCE",
    "ExportedOnnx",
    "OnnxComparison",
    "check_installed",
    "compare_onnx",
    "export_onnx",
    "export_program",
]
