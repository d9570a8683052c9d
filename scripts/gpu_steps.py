"""The steps of scripts/gpu_check.py: each yields rows, in a process of its own."""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import bench_neuron
import benchmark
import peers
import torch
from torch import Tensor, nn
from training_steps import WARM_UP, settings_of, spikingjelly_net

from snntrain import create_model, functional, kernel, registry
from snntrain.files import read_json
from snntrain.run.build import build_net
from snntrain.run.provenance import version_of

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "unit/kernel/test_cuda.py",
    "unit/kernel/test_recurrent_cuda_source.py",
    "unit/neuron/test_contract.py",
    "unit/neuron/test_cuba_loihi.py",
    "unit/layer/test_normalization.py",
    "unit/ann2snn/test_graph.py",
    "unit/test_randomness.py",
)
NEURONS = ("IFNode", "LIFNode", "ParametricLIFNode", "ComplementaryLIFNode", "IzhikevichNode")
SHAPES = ((4, 64, 100352), (64, 64, 16384), (16, 32, 1024))
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OURS, SPIKINGJELLY = "snntrain", "SpikingJelly"

Row = dict[str, Any]


def devices(options: argparse.Namespace) -> Iterator[Row]:
    """What runs fused here, and what each launcher says of itself."""
    for one in kernel.status():
        yield {"what": f"{one.device} {one.hardware}".strip(), "result": one.by or f"none: {one.reason}"}
    from snntrain.kernel.cuda_launcher import LAUNCHERS

    for name, make in LAUNCHERS.items():
        try:
            yield {"what": f"launcher {name}", "result": make().title}
        except RuntimeError as error:
            yield {"what": f"launcher {name}", "result": f"none: {error}"}


def copying(options: argparse.Namespace) -> Iterator[Row]:
    """Bytes per second of a copy, read and written ones together, and of forward and backward of x*1."""
    elements = 2**16 if options.small else 2**28
    x = torch.randn(elements, device=options.device)
    y, leaf = torch.empty_like(x), torch.randn(elements // 4, device=options.device, requires_grad=True)
    calls = {
        "copy": (lambda: y.copy_(x), 2 * x.nbytes),
        "x*1 forward and backward": (
            lambda: torch.autograd.grad(leaf * 1.0, leaf, y[: elements // 4]),
            4 * leaf.nbytes,
        ),
    }
    seconds = benchmark.interleaved(
        {name: partial(benchmark.seconds_of, call, options.device) for name, (call, _) in calls.items()}, options.rounds
    )
    for name, (_, moved) in calls.items():
        gigabytes = benchmark.spread([moved / value / 1e9 for value in seconds[name]])
        yield {"what": name, "result": f"{gigabytes['median']:,.0f} GB/s", "gigabytes_per_second": gigabytes}


def tests(options: argparse.Namespace) -> Iterator[Row]:
    """The tests marked cuda; each failure is a row."""
    if version_of("pytest") is None or not (ROOT / "tests").is_dir():
        raise RuntimeError("pip install pytest hypothesis, in a checkout")
    files = [f"tests/{name}" for name in (TESTS[:1] if options.small else TESTS)]
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-vv", "--no-header", "-p", "no:cacheprovider", *files]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    counts: dict[str, int] = {}
    last: list[str] = []
    for line in process.stdout:
        last = [*last[-20:], line.rstrip()]
        if found := re.match(r"(tests/\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)", line):
            name, verdict = found.groups()
            counts[verdict] = counts.get(verdict, 0) + 1
            yield {
                "what": "tests",
                "result": ", ".join(f"{n} {w.lower()}" for w, n in counts.items()),
                "replaces": True,
            }
            if verdict in ("FAILED", "ERROR"):
                yield {"what": name, "result": verdict.lower()}
    if process.wait() not in (0, 1, 5):  # 5: nothing was selected
        raise RuntimeError("\n".join(last))


def kernels(options: argparse.Namespace) -> Iterator[Row]:
    """Neurons of three dtypes beside x*1, their own loop and every implementation of SpikingJelly."""
    shapes = ((3, 2, 64),) if options.small else SHAPES
    for shape in shapes:
        for name in NEURONS[:1] if options.small else NEURONS:
            for title, dtype in DTYPES.items():
                yield _kernel(peers.find(name), shape, title, dtype, options)
                if options.device == "cuda":
                    torch.cuda.empty_cache()


def _kernel(case: peers.Case, shape: tuple[int, ...], title: str, dtype: torch.dtype, options: Any) -> Row:
    what = f"{case.name.removesuffix('Node')} {'×'.join(map(str, shape))} {title}"
    row = bench_neuron.measure(case, shape, options.rounds, options.device, dtype)
    measured = row["contenders"]
    if bench_neuron.FUSED not in measured:
        return {"what": what, "result": f"not fused: {row['unavailable'].get(bench_neuron.FUSED)}", **row}
    floor = measured[bench_neuron.FLOOR]
    ratios = {
        kind: {
            name: benchmark.ratio(values[f"{kind}_seconds"], floor[f"{kind}_seconds"])
            for name, values in measured.items()
        }
        for kind in ("training", "inference")
    }
    texts = [f"{name} {ratio:.3g}" for name, ratio in ratios["training"].items() if name != bench_neuron.FLOOR]
    milliseconds = 1e3 * statistics.median(floor["training_seconds"])
    equal = equal_to_loop(case, shape[0], dtype, options.device)
    result = f"÷ x*1 ({milliseconds:.3g} ms): {', '.join(texts)}; {100 * equal:.4g} % of the outputs are the loop's"
    return {"what": what, "result": result, "dtype": title, "to_floor": ratios, "equal_to_loop": equal, **row}


@torch.no_grad()
def equal_to_loop(case: peers.Case, T: int, dtype: torch.dtype, device: str) -> float:
    """Share of the outputs of the fused kernels that are those of the loop, to the last bit."""
    x = torch.randn(T, 16, 513, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    fused, loop = (peers.ours(case, backend, T, device) for backend in ("fused", "torch"))
    loop.node.load_state_dict(fused.node.state_dict())
    return (fused.run(x) == loop.run(x)).float().mean().item()


class Training:
    """A training step of a net on one batch that stays on the device.

    Args:
        make: the net, [T, N, *] → [T, N, classes].
        reset: clears the net's state.
        shape: of one sample.
        options: of the command line.
        batch, T: samples and time steps.
        half: compute products in bfloat16, by autocast.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        reset: Callable[[nn.Module], None],
        shape: tuple[int, ...],
        options: argparse.Namespace,
        *,
        batch: int,
        T: int,
        half: bool,
    ) -> None:
        self.device, self.reset, self.T, self.half = options.device, reset, T, half
        self.before = 0
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        self.net = make().to(self.device)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4)
        source = torch.Generator().manual_seed(0)
        self.x = torch.rand(batch, *shape, generator=source).to(self.device)
        self.target = torch.randint(0, 10, (batch,), generator=source).to(self.device)
        self.encoder = registry.build("encoder", name="DirectEncoder")
        for _ in range(WARM_UP):
            self.step()
        # On the CPU the peak is that of a process which holds both nets: bench_train.py measures it there.
        self.peak_bytes = torch.cuda.max_memory_allocated() - self.before if self.device == "cuda" else None

    def step(self) -> Tensor:
        self.optimizer.zero_grad()
        self.reset(self.net)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            scores = self.net(self.encoder(self.x, self.T)).mean(0)
        loss = nn.functional.cross_entropy(scores.float(), self.target)
        loss.backward()
        self.optimizer.step()
        return loss


def _compare(what: str, made: dict[str, Callable[[], Training]], batch: int, options: argparse.Namespace) -> Row:
    """Steps in turns: samples per second, peak memory, and both beside SpikingJelly's."""
    ready, missing = {}, {}
    for name, make in made.items():
        try:
            ready[name] = make()
        except Exception as error:  # any error of a library, memory that runs out: the other is still measured
            missing[name] = " ".join(f"{error}".split()) or type(error).__name__
    row: Row = {"what": what, "batch": batch, "unavailable": missing, "contenders": {}}
    if ready:
        seconds = benchmark.interleaved(
            {name: partial(benchmark.seconds_of, loop.step, options.device) for name, loop in ready.items()},
            options.rounds,
        )
        for name, loop in ready.items():
            row["contenders"][name] = {
                "seconds": seconds[name],
                "samples_per_second": benchmark.spread([batch / value for value in seconds[name]]),
                "peak_bytes": loop.peak_bytes,
                "parameters": sum(p.numel() for p in loop.net.parameters()),
            }
    texts = [
        f"{name} {one['samples_per_second']['median']:,.0f} samples/s"
        + (f", {one['peak_bytes'] / 2**20:,.0f} MiB" if one["peak_bytes"] else "")
        for name, one in row["contenders"].items()
    ]
    if row["contenders"].keys() == {OURS, SPIKINGJELLY}:
        ours, other = row["contenders"][OURS], row["contenders"][SPIKINGJELLY]
        row["times_as_fast"] = benchmark.ratio(other["seconds"], ours["seconds"])
        texts.append(f"{row['times_as_fast']:.2f} × as fast")
        if ours["peak_bytes"] and other["peak_bytes"]:
            row["memory_ratio"] = ours["peak_bytes"] / other["peak_bytes"]
            texts.append(f"{row['memory_ratio']:.2f} × the memory")
    row["result"] = "; ".join([*texts, *(f"no {name}: {reason}" for name, reason in missing.items())])
    return row


def csnn(options: argparse.Namespace) -> Iterator[Row]:
    """Training steps of the csnn, 32 channels, T = 4, with the same weights in both libraries."""
    batch, channels = (2, 2) if options.small else (64, 32)
    given = argparse.Namespace(neuron="lif", surrogate="atan", channels=channels, batch=batch, T=4, data=None)
    with tempfile.TemporaryDirectory(prefix="snntrain-gpu-") as folder:
        settings = settings_of(given, Path(folder), 2)
    for title, half in (("fp32", False), ("bf16", True)):
        run = partial(Training, shape=(1, 28, 28), options=options, batch=batch, T=4, half=half)
        made = {OURS: partial(run, partial(build_net, settings), functional.reset_net)}
        made[SPIKINGJELLY] = lambda run=run: run(lambda: spikingjelly_net(settings), _spikingjelly_reset())
        yield _compare(f"csnn, {title}, batch {batch}", made, batch, options)


def sew_resnet18(options: argparse.Namespace) -> Iterator[Row]:
    """Training steps of SEW-ResNet-18 at 224², T = 4, in bfloat16; each library's own model, of the same layers."""
    batch, side = (2, 64) if options.small else (32, 224)
    run = partial(Training, shape=(3, side, side), options=options, batch=batch, T=4, half=True)
    neuron = {"name": "IFNode", "detach_reset": True, "surrogate_function": {"name": "ATan", "alpha": 2.0}}
    make = partial(create_model, "sew_resnet18", sample_shape=(3, side, side), num_classes=1000, neuron=neuron)
    made = {OURS: lambda: run(make, functional.reset_net)}
    made[SPIKINGJELLY] = lambda: run(_spikingjelly_sew_resnet18, _spikingjelly_reset())
    yield _compare(f"SEW-ResNet-18, {side}², T 4, bf16, batch {batch}", made, batch, options)


def _spikingjelly_sew_resnet18() -> nn.Module:
    model, surrogate = peers.spikingjelly_module("model.sew_resnet"), peers.spikingjelly_module("surrogate")
    net = model.sew_resnet18(
        cnf="ADD",
        spiking_neuron=peers.spikingjelly_module("neuron").IFNode,
        surrogate_function=surrogate.ATan(2.0),
        detach_reset=True,
        num_classes=1000,
    )
    peers.spikingjelly_module("functional").set_step_mode(net, "m")
    return net


def _spikingjelly_reset() -> Callable[[nn.Module], None]:
    if version_of("spikingjelly") is None:
        raise RuntimeError("pip install spikingjelly==2.0.0")
    return peers.spikingjelly_module("functional").reset_net


def first_command(options: argparse.Namespace) -> Iterator[Row]:
    """A short run of train.py on this device: what it prints and records of kernels."""
    trainer = "gpu" if options.device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory(prefix="snntrain-gpu-") as folder:
        words = [f"trainer={trainer}", "trainer.max_epochs=1", "trainer.limit_train_batches=3", f"paths.runs={folder}"]
        command = [sys.executable, str(ROOT / "train.py"), *words]
        done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError((done.stderr or done.stdout)[-2000:])
        said = [line for line in done.stdout.splitlines() if "kernels on the GPU" in line]
        (made,) = Path(folder).glob("*/*/provenance.json")
        recorded = read_json(made)["hardware"].get("gpu_kernels", "nothing of GPUs")
    if (options.device == "cuda") != (len(said) == 1):
        raise RuntimeError(f"a run on {options.device} says of kernels on GPUs: {said}")
    yield {"what": " ".join(["train.py", *words[:3]]), "result": f"recorded: {recorded}", "printed": said}


STEPS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "devices": devices,
    "first command": first_command,
    "tests": tests,
    "copy": copying,
    "kernels": kernels,
    "csnn": csnn,
    "SEW-ResNet-18": sew_resnet18,
}


def run_step(name: str, options: argparse.Namespace) -> None:
    """Print each row of a step as one line of JSON as soon as it is measured."""
    for row in STEPS[name](options):
        print(json.dumps(row), flush=True)
