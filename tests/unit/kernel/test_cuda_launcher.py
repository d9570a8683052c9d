"""What compiles and launches kernels on GPUs, with a driver that runs them on the CPU, and real NVRTC where it is."""

import importlib.metadata
import re
import sys
import threading
import types

import numpy as np
import pytest
import torch
from cuda_emulator import Emulator, FakeCompiler, FakeDriver, assembly, forbidden, needs_compiler, needs_nvcc
from loop_of_steps import NODES, Branched, Spread, assert_kernel_is_loop, planned
from recurrent_containers import CONTAINERS, assert_fused_is_loop
from recurrent_containers import NEURONS as RECURRENT
from seeded_inputs import normal

from snntrain import neuron
from snntrain.error import UsageError
from snntrain.kernel import cuda, cuda_binary, cuda_launcher, cuda_step_source, cuda_steps, nvrtc, recurrent, sequence
from snntrain.kernel.cuda_driver import Driver, _layout
from snntrain.kernel.cuda_source import source

GPU, STREAM = torch.device("cuda:1"), 4711


def _no_nvrtc() -> str | None:
    try:
        nvrtc.find()
    except nvrtc.Missing as error:
        return f"pip install nvidia-cuda-nvrtc-cu12: {error}"
    return None


needs_nvrtc = pytest.mark.skipif(bool(_no_nvrtc()), reason=str(_no_nvrtc()))


@pytest.fixture
def fresh_choice():
    cuda_launcher.launcher.cache_clear()
    yield
    cuda_launcher.launcher.cache_clear()


# --- the driver API, with the CPU in place of the GPU -----------------------------------------------------------------


@pytest.fixture(scope="module")
def fake(tmp_path_factory) -> FakeDriver:
    return FakeDriver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(fake, tmp_path, monkeypatch) -> FakeDriver:
    """Sequences and steps on the CPU run through DriverLauncher as if they were on the second GPU."""
    launcher = cuda_launcher.DriverLauncher(FakeCompiler(tmp_path), Driver(str(fake.path)))
    launch = cuda._launch
    monkeypatch.setenv("SNNTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda_launcher, "launcher", lambda: launcher)
    monkeypatch.setattr(cuda_launcher, "_stream", lambda device: STREAM)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(sequence, "driver_for", lambda device: cuda)
    monkeypatch.setattr(recurrent, "steps_driver_for", lambda device: cuda_steps)
    monkeypatch.setattr(cuda, "_launch", lambda *given: launch(*given[:-1], GPU))
    monkeypatch.setattr(cuda, "_functions", {})
    fake.notes()
    return fake


@needs_compiler
@pytest.mark.parametrize("io", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["LIF", "PLIF", "Izhikevich"])
def test_every_argument_reaches_the_kernel(driver, name, io):
    x = (1.5 * torch.randn(20, 3, 111)).to(io)
    assert_kernel_is_loop(NODES[name](), x, torch.float64 if io == torch.float64 else torch.float32)


@needs_compiler
def test_parameters_of_channels_branches_and_single_steps_reach_it_too(driver):
    assert_kernel_is_loop(Spread(50, 20), 2 * torch.randn(20, 3, 50))
    assert_kernel_is_loop(Branched(50), torch.randn(20, 3, 150))
    assert_fused_is_loop(CONTAINERS["summed"](RECURRENT["PLIF"](50), 50, True), 3 * normal(9, 7, 50))


@needs_compiler
def test_a_kernel_is_loaded_once_into_the_primary_context_and_runs_on_torchs_stream(driver):
    node = NODES["PLIF"]()
    for _ in range(2):
        plan, parameters = planned(node, torch.float32)
        x = torch.randn(4, 50, requires_grad=True)
        sequence.run(plan, x, [0.0], parameters)[0].sum().backward()
    assert driver.notes() == [
        "cuDeviceGet 1",
        "cuDevicePrimaryCtxRetain 101",
        "cuModuleLoadData 101",
        "cuModuleGetFunction forward",
        "cuModuleGetFunction backward",
        *[f"cuLaunchKernel {STREAM}"] * 4,
    ]


@needs_compiler
def test_a_thread_without_a_context_gets_one_for_the_call_alone(driver):
    plan, parameters = planned(NODES["LIF"](), torch.float32)
    x, found = torch.randn(4, 50), []
    thread = threading.Thread(target=lambda: found.append(sequence.run(plan, x, [0.0], parameters)[0]))
    thread.start()
    thread.join()
    assert torch.equal(found[0], sequence.run(plan, x, [0.0], parameters)[0])
    driver._library.cuCtxPopCurrent_v2.argtypes = None
    assert driver._library.cuCtxPopCurrent_v2(np.zeros(1, np.int64).ctypes) == 201  # nothing is left on the stack


@needs_compiler
def test_an_error_of_the_driver_has_its_name_and_leaves_no_context_behind(fake):
    driver = Driver(str(fake.path))
    with pytest.raises(RuntimeError, match=r"refused cuModuleLoadData: CUDA_ERROR_INVALID_IMAGE, device kernel image"):
        driver.load(b"no machine code", ["forward"], 0)
    assert driver._library.cuCtxPopCurrent_v2(np.zeros(1, np.int64).ctypes) == 201
    with pytest.raises(RuntimeError, match=r"refused cuModuleGetFunction: error 500$"):
        driver.load(f"0{fake.path}".encode(), ["sideward"], 0)


@needs_compiler
def test_a_library_that_is_no_driver_is_refused(tmp_path):
    with pytest.raises(OSError):
        Driver(str(tmp_path / "missing.so"))
    with pytest.raises(AttributeError, match="cuInit"):
        Driver("libm.so.6")


@needs_nvcc
def test_the_bytes_of_the_arguments_are_those_that_a_gpus_kernel_reads(tmp_path, monkeypatch):
    """The types of the parameters that nvcc writes into PTX, against the layout that the launcher packs."""
    launched = []

    class Recorder(Emulator):
        def __call__(self, text, kernel, blocks, threads, arguments, device) -> None:
            super().__call__(text, kernel, blocks, threads, arguments, device)
            launched.append((text, kernel, tuple(map(type, arguments))))

    monkeypatch.setattr(sequence, "driver_for", lambda device: cuda)
    monkeypatch.setattr(recurrent, "steps_driver_for", lambda device: cuda_steps)
    monkeypatch.setattr(cuda, "_launch", Recorder(tmp_path))
    for name, dtype in (("LIF", torch.float32), ("PLIF", torch.float64), ("Izhikevich", torch.float32)):
        assert_kernel_is_loop(NODES[name](), torch.randn(9, 40).to(dtype), dtype)
    assert_kernel_is_loop(Spread(50, 20), 2 * torch.randn(20, 3, 50))
    assert_fused_is_loop(CONTAINERS["summed"](RECURRENT["PLIF"](50), 50, True), 3 * normal(9, 7, 50))
    types_of = {"q": ("u64", "s64", "b64"), "f": ("f32",), "d": ("f64",)}
    for real in ("float", "double"):  # sources of one dtype compile together
        texts = [text for text in dict.fromkeys(text for text, _, _ in launched) if f"typedef {real} real;" in text]
        read = _parameters(assembly(tmp_path, texts, "sm_90", "-ptx"))
        for text, kernel, kinds in launched:
            if text in texts:
                characters = _layout(kinds)[0].format[1:]
                parameters = read.pop(f"{kernel}_{texts.index(text)}", None)
                assert parameters is None or len(parameters) == len(characters)
                for character, parameter in zip(characters, parameters or characters, strict=True):
                    assert parameters is None or parameter in types_of[character]
        assert not read, "kernels that were not launched"


def _parameters(ptx: str) -> dict[str, list[str]]:
    """The types of the parameters of each kernel, as PTX writes them."""
    return {
        match[1]: re.findall(r"\.param \.(\w+)", match[2])
        for match in re.finditer(r"\.entry (\w+)\((.*?)\n\)", ptx, re.DOTALL)
    }


def test_arguments_are_aligned_as_in_c():
    layout, offsets = _layout((int, np.float32, np.float64, np.float32, np.float32, int))
    assert offsets == [0, 8, 16, 24, 28, 32] and layout.size == 40


# --- NVRTC ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiler():
    return nvrtc.find()


@needs_nvrtc
@pytest.mark.parametrize("capability", [75, 80, 90, 100])
@pytest.mark.parametrize("io", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_nvrtc_makes_machine_code_of_kernels_for_every_dtype_and_gpu(compiler, io, capability):
    names = ["LIF", "PLIF", "Izhikevich", "ATIF"] if io == torch.float32 else ["PLIF"]
    for name in names:
        plan, _ = planned(NODES[name](), torch.float64 if io == torch.float64 else torch.float32)
        for V in (1, 2) if io.itemsize == 2 else (1,):
            code = cuda_binary.compiled(source(plan, io, V), capability, compiler)
            assert code.startswith(b"\x7fELF") and b"forward" in code and b"backward" in code


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 90, 100])
def test_nvrtc_makes_machine_code_of_every_neuron_and_of_single_steps(compiler, capability):
    plans = [planned(make(), torch.float32)[0] for make in NODES.values()]
    texts = [source(plan, torch.float32, 1) for plan in plans] + [cuda_step_source.source(plan) for plan in plans]
    for text in texts:
        assert cuda_binary.compiled(text, capability, compiler).startswith(b"\x7fELF")


@needs_nvrtc
def test_nvrtcs_arithmetic_is_ieee(compiler):
    for io in (torch.float32, torch.float16, torch.float64):
        plan, _ = planned(NODES["LIF"](), torch.float64 if io == torch.float64 else torch.float32)
        text = source(plan, io, 2 if io.itemsize == 2 else 1)
        ptx = compiler.compiled(text, ["-arch=compute_90", *cuda_binary.OPTIONS], to_ptx=True).decode()
        assert "div.rn" in ptx and not forbidden(ptx)


@needs_nvrtc
def test_a_newer_gpu_gets_ptx_and_an_older_one_is_refused(compiler):
    text = source(planned(NODES["LIF"](), torch.float32)[0], torch.float32, 1)
    newest, oldest = max(compiler.architectures()), min(compiler.architectures())
    code = cuda_binary.compiled(text, newest + 9, compiler)
    assert f".target sm_{newest}".encode() in code and code.endswith(b"\0")
    with pytest.raises(RuntimeError, match=r"makes no code for a GPU of compute capability 3\.0"):
        cuda_binary.compiled(text, 30, compiler)
    assert oldest > 30


@needs_nvrtc
def test_the_compilers_messages_are_passed_on(compiler):
    with pytest.raises(RuntimeError, match=r"does not compile:\n.*kernel\.cu\(1\): error"):
        cuda_binary.compiled("not CUDA", 90, compiler)


def test_code_is_kept_on_disk_and_made_again_if_the_file_is_damaged(tmp_path, monkeypatch):
    made = []

    class Counting:
        version = (12, 9)

        def architectures(self) -> list[int]:
            return [90]

        def compiled(self, text, options, *, to_ptx=False) -> bytes:
            made.append(text)
            return b"code of " + text.encode()

    monkeypatch.setenv("SNNTRAIN_CACHE", str(tmp_path))
    for _ in range(2):
        assert cuda_binary.binary("text", 90, Counting()) == b"code of text"
    assert made == ["text"]
    (file,) = (tmp_path / "cuda").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert cuda_binary.binary("text", 90, Counting()) == b"code of text"
    assert made == ["text"] * 2


def test_a_file_that_is_no_nvrtc_is_named():
    with pytest.raises(nvrtc.Missing, match=r"libm\.so\.6 cannot be used \(.*nvrtcVersion"):
        nvrtc.Nvrtc("libm.so.6")


@pytest.mark.parametrize(
    "place", ["nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "nvidia/cu12/lib/libnvrtc.so.12", "torch/lib/libnvrtc-1a.so.12"]
)
def test_nvrtc_is_looked_for_where_wheels_put_it(tmp_path, monkeypatch, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no library")
    (tmp_path / "torch").mkdir(exist_ok=True)
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch/__init__.py"))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(sys, "path", [])
    assert list(nvrtc._candidates(12)) == [str(file), "libnvrtc.so.12"]
    monkeypatch.setattr(nvrtc, "_candidates", lambda major: [str(file)])  # the loader may know another one
    with pytest.raises(nvrtc.Missing, match=str(file)):
        nvrtc.find()


# --- which one runs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def with_cuda(fake, fresh_choice, monkeypatch):
    """A torch built for CUDA 13 that finds a GPU."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv(cuda_launcher.VARIABLE, raising=False)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setattr(Driver.__init__, "__defaults__", (str(fake.path),))


def broken_cupy(monkeypatch) -> None:
    """cupy-cuda12x beside a torch for CUDA 13: its NVRTC is not there."""

    def version() -> tuple[int, int]:
        raise ImportError("libnvrtc.so.12: cannot open shared object file")

    package, parts = types.ModuleType("cupy"), types.ModuleType("cupy.cuda")
    package.cuda, parts.nvrtc = parts, types.SimpleNamespace(getVersion=version)
    monkeypatch.setitem(sys.modules, "cupy", package)
    monkeypatch.setitem(sys.modules, "cupy.cuda", parts)
    one = types.SimpleNamespace(metadata={"Name": "cupy-cuda12x"})
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [one])


@needs_compiler
def test_torchs_own_nvrtc_serves_without_cupy_and_without_cuda_home(with_cuda, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(cuda_launcher, "find", lambda: FakeCompiler(tmp_path))
    assert cuda.unavailable() is None
    assert cuda_launcher.launcher().title == "NVRTC 0.0 and the driver for CUDA 12.8"
    assert sequence.driver_for(torch.device("cuda")) is cuda


def _nothing() -> None:
    raise nvrtc.Missing("there is no NVRTC of CUDA 13 beside torch or on this system")


@needs_compiler
def test_where_nothing_can_run_the_reasons_are_named_and_what_to_install(with_cuda, monkeypatch):
    monkeypatch.setattr(cuda_launcher, "find", _nothing)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert cuda.unavailable() == (
        "there is no NVRTC of CUDA 13 beside torch or on this system, and cupy is not installed; "
        "pip install 'nvidia-cuda-nvrtc==13.*', or cupy-cuda13x"
    )
    assert sequence.driver_for(torch.device("cuda")) is None
    assert sequence.reason_against_device(torch.device("cuda")) == cuda.unavailable()


@needs_compiler
def test_a_cupy_for_another_cuda_is_named(with_cuda, monkeypatch):
    monkeypatch.setattr(cuda_launcher, "find", _nothing)
    broken_cupy(monkeypatch)
    reason = cuda.unavailable()
    assert "cupy-cuda12x beside a torch for CUDA 13.0 cannot be used (libnvrtc.so.12: cannot open" in reason
    assert reason.endswith("pip install 'nvidia-cuda-nvrtc==13.*', or cupy-cuda13x")


@needs_compiler
def test_the_environment_chooses_a_launcher_and_a_wrong_name_is_refused(with_cuda, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_launcher, "find", lambda: FakeCompiler(tmp_path))
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setenv(cuda_launcher.VARIABLE, "cupy")
    assert cuda.unavailable().startswith("cupy is not installed; pip install")
    cuda_launcher.launcher.cache_clear()
    monkeypatch.setenv(cuda_launcher.VARIABLE, "cuppy")
    with pytest.raises(UsageError, match=r"SNNTRAIN_GPU_LAUNCHER must be driver or cupy, got 'cuppy'\. Did you mean c"):
        cuda.unavailable()


def test_a_torch_without_cuda_or_without_a_gpu_says_so(fresh_choice, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA" in cuda.unavailable()
    cuda_launcher.launcher.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert cuda.unavailable() == "torch finds no GPU"


def test_cupy_compiles_the_same_code(tmp_path):
    cupy_nvrtc = pytest.importorskip("cupy", reason="cupy is not installed").cuda.nvrtc
    try:
        cupy_nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC is not installed ({error})")
    text = source(planned(neuron.LIFNode(), torch.float32)[0], torch.float16, 2)
    assert cuda_binary.compiled(text, 90, cuda_launcher.CupyNvrtc()).startswith(b"\x7fELF")
