"""Run a netx file in Lava's simulator: python lava_worker.py REQUEST RESULT, a program that lava_run starts.

REQUEST is an .npz file with path, x [T, N, *] of integers, and message_bits; RESULT gets spikes_0, spikes_1, … of the
layers with neurons, [T, N, *], step t belonging to step t of the input.
"""

import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def main(request: str, result: str) -> None:
    """Read, run, write."""
    asked = np.load(request)
    x, path, bits = asked["x"], str(asked["path"]), int(asked["message_bits"])
    netx = _import_netx()
    # Recurrent layers, and those with delays, would still get spikes of the sample before.
    parts = np.split(x, x.shape[1], axis=1) if _remembers(path) else [x]
    runs = [_run(netx, path, part, bits) for part in parts]
    spikes = {f"spikes_{index}": np.concatenate(each, 1) for index, each in enumerate(zip(*runs, strict=True))}
    np.savez(result, **spikes)


def _import_netx() -> Any:
    here = Path(__file__).resolve().parent
    beside = here.with_name("lava_exchange")
    sys.path.insert(0, str(beside))
    try:
        import lava_shim
    finally:
        # Python itself adds the folder of a script. Modules in both have names that others know as packages.
        sys.path[:] = [folder for folder in sys.path if folder not in (str(here), str(beside))]
    netx = lava_shim.netx()
    if importlib.util.find_spec("torch") is None:
        # Lava imports all modules of the package to find models. This one has none, and would import torch.
        unused = ModuleType(f"{netx.__name__}.sequential_modules")
        unused.__file__ = str(Path(netx.__file__).with_name("sequential_modules.py"))
        sys.modules[unused.__name__] = unused
    return netx


def _remembers(path: str) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        return any(layer["type"][0] == b"dense_rec" or "delay" in layer for layer in file["layer"].values())


def _run(netx: Any, path: str, x: np.ndarray, bits: int) -> list[np.ndarray]:
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc import io

    T, N = x.shape[:2]
    # Neurons are reset just before the first input reaches them, also for a single sample: biases reach them earlier.
    net = netx.hdf5.Network(net_config=path, input_message_bits=bits, reset_interval=T, reset_offset=1)
    net.net_config.f.close()
    steps = T * N + len(net.layers)  # every layer adds one step of delay
    source = io.source.RingBuffer(data=_to_lava(x, net.inp.shape, steps))
    source.s_out.connect(net.inp)
    sinks = []
    for layer in net.layers:
        sinks.append(io.sink.RingBuffer(shape=layer.out.shape, buffer=steps))
        layer.out.connect(sinks[-1].a_in)
    net.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    spikes = [_from_lava(sink.data.get(), T, N, delay) for delay, sink in enumerate(sinks, start=1)]
    net.stop()
    return spikes


def _to_lava(x: np.ndarray, shape: tuple[int, ...], steps: int) -> np.ndarray:
    """[T, N, *] → one sample after the other along the last dim; pictures as W, H, C, and zeros at the end."""
    sequence = np.moveaxis(x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), 0, -1)
    data = sequence.transpose(2, 1, 0, 3) if len(shape) == 3 else sequence.reshape(-1, sequence.shape[-1])
    padding = np.zeros((*data.shape[:-1], steps - data.shape[-1]), data.dtype)
    return np.concatenate([data, padding], -1).astype(np.int32)


def _from_lava(data: np.ndarray, T: int, N: int, delay: int) -> np.ndarray:
    data = data[..., delay : delay + T * N]
    sequence = data.transpose(3, 2, 1, 0) if data.ndim == 4 else data.T
    return sequence.reshape(N, T, *sequence.shape[1:]).swapaxes(0, 1).astype(bool)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # a failed run leaves Lava waiting for ever
