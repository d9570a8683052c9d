"""Fused kernels, generated from a neuron's step function.

They may import the ground floor, base, functional and surrogate, and know no neuron by name.

graph    the step and its gradient as scalar operations, traced from its torch code
plan     both graphs of one neuron
sequence layouts and autograd around the kernels: run(plan, x_seq, states, parameters, store)
pooled, pooled_source  a neuron and the pooling after it as one kernel, on the CPU
call     what a device's driver reads and writes
cpu, numba_source, numba_prelude    graphs → numba, run on the CPU
compiled  compiled kernels, and the threads that run them
time_filter      a filter over time of each channel, for delays that are interpolated
sparse_product   products with inputs that are mostly zero
product  a product of one step with the bits of torch's linear
cuda, cuda_source, cuda_step    graphs → CUDA C, run on NVIDIA GPUs
cuda_binary, cuda_launcher, nvrtc, cuda_driver   CUDA C → machine code, and what compiles and launches it
device_status    what runs fused on this machine, and in a net
recurrent    products between single steps, and autograd around both
steps, cpu_steps, step_source, cuda_steps, cuda_step_source    graphs → kernels of one step, for that
cache    generated sources and compiled code on disk
backend  whether a neuron's call can be fused, and the call itself
"""

from snntrain.kernel import cuda_source, numba_source
from snntrain.kernel.backend import plan_for
from snntrain.kernel.device_status import DeviceStatus, status, watching_fusion
from snntrain.kernel.graph import Unsupported
from snntrain.kernel.plan import Plan, make_plan
from snntrain.kernel.sequence import run

__all__ = [
    "DeviceStatus",
    "Plan",
    "Unsupported",
    "cuda_source",
    "make_plan",
    "numba_source",
    "plan_for",
    "run",
    "status",
    "watching_fusion",
]
