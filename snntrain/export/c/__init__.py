"""Integer nets as C99 for microcontrollers, the same numbers bit for bit.

It may import quantize, graph and the net floor, and of export its errors.

exported = export_c(to_integer(quantized), "net", sample_shape=(1, 28, 28))   net.c net.h main.c Makefile
program = exported.build("net/net")                                            with the machine's C compiler
exported.compare([program], x_seq).mismatches                                  outputs, spikes, potentials that differ
CompiledNet(to_integer(quantized), (1, 28, 28)).predict(x, T)                   the same in this process
"""

from snntrain.export.c.compiler import NOT_INSTALLED, Compiler, cortex_m4_compiler, native_compiler
from snntrain.export.c.exported import Comparison, CRun, ExportedC, export_c
from snntrain.export.c.native import CompiledNet

__all__ = [
    "NOT_INSTALLED",
    "CRun",
    "Comparison",
    "CompiledNet",
    "Compiler",
    "ExportedC",
    "cortex_m4_compiler",
    "export_c",
    "native_compiler",
]
