"""Export of trained nets: netx files for Loihi and its simulator, NIR graphs, C99 for microcontrollers, ONNX.

It may import the net floor, graph and quantize, no Lightning and no config.

print(plan(net, example))                        what becomes of every layer, or why not
exported = export(net, "net.h5", example)        the file, and what belongs to it
exported.logits(x)                               what it computes, in integers
run_in_lava("net.h5", exported.input.encode(x))  the same in Lava
export_nir(net, example, "net.nir")
export_c(integers, "folder", sample_shape)       an integer net as C99, see snntrain.export.c
export_onnx(net, example, "net.onnx")            for onnxruntime, see snntrain.export.onnx
"""

from snntrain.export.c import CompiledNet, ExportedC, export_c
from snntrain.export.emulator import Emulation, emulate
from snntrain.export.error import ExportError
from snntrain.export.lava_run import LavaError, LavaRun, run_in_lava
from snntrain.export.netx import Exported, export, plan
from snntrain.export.nir import export_nir
from snntrain.export.nir_import import import_nir
from snntrain.export.onnx import ExportedOnnx, OnnxComparison, compare_onnx, export_onnx, export_program
from snntrain.export.plan import Plan

__all__ = [
    "CompiledNet",
    "Emulation",
    "ExportError",
    "Exported",
    "ExportedC",
    "ExportedOnnx",
    "LavaError",
    "LavaRun",
    "OnnxComparison",
    "Plan",
    "compare_onnx",
    "emulate",
    "export",
    "export_c",
    "export_nir",
    "export_onnx",
    "export_program",
    "import_nir",
    "plan",
    "run_in_lava",
]
