"""Tables of what was measured: models, data sets, experiments, benchmarks; read from the code and the records."""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from bench_train import TITLES
from rich.filesize import decimal

from site_pages.markdown import code, table, text
from snntrain import create_model
from snntrain.config.folders import groups
from snntrain.config.reference import describe_choice
from snntrain.data import source
from snntrain.lab.experiment.record_page import BINOMIAL, literature, main_metrics, mean_and_std
from snntrain.lab.experiment.recorded import Record, recorded_names
from snntrain.model.profile import profile

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "results"


def pages() -> dict[str, str]:
    """Path → text of the pages, in the order of the menu."""
    found = {f"{FOLDER}/models.md": _models(), f"{FOLDER}/data.md": _data(), f"{FOLDER}/experiments.md": _experiments()}
    for folder in sorted((ROOT / "experiments").glob("*/README.md")):
        found[f"{FOLDER}/experiments/{folder.parent.name}.md"] = _record(folder)
    return found | {f"{FOLDER}/benchmarks.md": _benchmarks()}


def pictures() -> dict[str, Path]:
    """Path in the site → file, of the figures that lie beside the records and benchmarks."""
    records = {
        f"{FOLDER}/experiments/{file.parent.name}_{file.name}": file for file in ROOT.glob("experiments/*/*.png")
    }
    return records | {f"{FOLDER}/{file.name}": file for file in ROOT.glob("benchmarks/*.png")}


# --- models ----------------------------------------------------------------------------------------------------------


def inputs_of_models() -> dict[str, tuple[tuple[int, ...], int]]:
    """Model → shape of a sample and number of classes, as docs/models.md has them."""
    listed = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d×]+), (\d+)[^|]*\|", listed, re.MULTILINE)
    return {name: (tuple(map(int, shape.split("×"))), int(classes)) for name, shape, classes in rows}


def _models() -> str:
    rows = []
    for name, (shape, classes) in inputs_of_models().items():
        layers = layers_of(name, shape, classes)
        parameters, products = (sum(layer[key] for layer in layers) for key in ("parameters", "macs"))
        neurons = sum(torch.Size(layer["output_shape"]).numel() for layer in layers if layer["neuron"])
        size = "×".join(map(str, shape))
        cells = (f"{parameters:,}", f"{products / 1e6:,.1f} M", f"{neurons:,}", decimal(4 * parameters))
        rows.append([f"[`{name}`](../reference/config/model.md#{name})", f"{size}, {classes}", *cells])
    return f"""# Models

`python train.py show=model model=… data=…` prints the same layer by layer. Multiply-accumulates are those of one sample
at one time step if every input were used; a spiking net computes only where there are spikes, and the column `SOPs` of
[experiments](experiments.md) says how many of them were left. Papers beside the parameters: [Models](../models.md).

{table(["model", "sample, classes", "parameters", "MACs per step", "neurons", "weights in float32"], rows)}"""


def layers_of(name: str, shape: tuple[int, ...], classes: int) -> list[dict[str, Any]]:
    """The layers of a model, as show=model prints them."""
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        net = create_model(name, shape, classes, neuron=_neuron(name))
        return profile(net, shape)


def _neuron(model: str) -> dict[str, Any]:
    """A neuron that the model can have, without a kernel to compile."""
    if model == "csnn_loihi":
        return {"name": "CubaLIFNode", "current_decay": 0.5, "voltage_decay": 0.25, "backend": "torch"}
    return {"name": "ParametricLIFNode" if model.startswith("plif") else "LIFNode", "backend": "torch"}


# --- data ------------------------------------------------------------------------------------------------------------


def _data() -> str:
    rows, own = [], []
    for name in groups()["data"]:
        choice = describe_choice("data", name)
        content = yaml.safe_load(choice.text)
        target = choice.builds["data"].rpartition(".")[2]
        link = f"[`{name}`](../reference/config/data.md#{name})"
        try:
            facts = source.find(target)
        except ValueError:
            own.append([link, text(choice.about)])
            continue
        sizes = [file.size for file in facts.files]
        size = "with a package" if not sizes else decimal(sum(sizes)) if all(sizes) else "size not published"
        count = content.get("num_classes") or content.get("num_targets")
        rows.append([link, text(facts.title), _shape(content, target), str(count), size, text(facts.license)])
    return f"""# Data sets

What is downloaded, under which license. `python scripts/fetch_data.py name=…` or `data.download=true` fetches, verifies
and unpacks it; the shape is that of a sample at one time step.

{table(["data", "what it is", "shape", "classes or values", "download", "license"], rows)}
## Made, or your own

{table(["data", "what it is"], own)}"""


def _shape(content: Mapping[str, Any], target: str) -> str:
    shape = content["sample_shape"]
    if isinstance(shape, list):
        return "×".join(map(str, shape))
    sensor, side = content["framing"]["sensor_size"], content["framing"].get("downsample", 1)
    sizes = [-(-one // side) for one in (sensor if isinstance(sensor, list) else [sensor])]
    return "×".join(map(str, [2, *sizes] if len(sizes) == 2 else sizes))


# --- experiments -----------------------------------------------------------------------------------------------------


def _experiments() -> str:
    names = recorded_names(ROOT / "experiments")
    others = sorted(path.parent for path in ROOT.glob("experiments/*/README.md") if path.parent.name not in names)
    rows = [experiment_row(name) for name in names]
    listed = "\n".join(f"- [{_title(folder)}](experiments/{folder.name}.md)" for folder in others)
    heads = ["experiment", "test", "firing rate", "SOPs", "seconds", "MiB", "what", "literature"]
    binomial = BINOMIAL.format(samples="samples of the test set")
    return f"""# Experiments

`python train.py experiment=<name>` runs one, and `python scripts/reproduce.py <name>` repeats it and compares it with
the record, bit for bit on the same class of hardware. Mean ± standard deviation over the seeds. {binomial}
Seconds are those of training and test of one seed on two cores, MiB the most memory that its process held (records
made before this was measured do not have it); SOPs are the synaptic operations of one sample.

{table(heads, rows)}
## Other measurements

{listed}
"""


def experiment_row(name: str) -> list[str]:
    """A row of the table of experiments."""
    record = Record(ROOT / "experiments" / name)
    expected = record.read(Record.expected)
    metrics, samples = expected["metrics"], expected["samples"]
    headline = main_metrics(list(metrics))[0]
    seconds = [sum(entry["seconds"].values()) for entry in expected["seeds"].values()]
    shown = [
        mean_and_std(key, metrics[key], samples).replace(" ", "\u00a0") if metrics.get(key, {}).get("mean") else ""
        for key in (headline, "test/firing_rate", "test/sops")
    ]
    claims = [f"{claim['value']}, {claim['what']} ({claim['source']})" for claim in literature(record.path)]
    link = f"[`{name}`](experiments/{name}.md)"
    memory = [size / 2**20 for entry in expected["seeds"].values() if (size := entry.get("memory", {}).get("resident"))]
    return [
        link,
        *shown,
        _mean(seconds),
        _mean(memory) if memory else "",
        text(expected["what"]),
        "<br>".join(map(text, claims)),
    ]


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):,.0f}"


def _title(folder: Path) -> str:
    return re.search(r"^# (.*)", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)[1]


def _record(file: Path) -> str:
    """The README of an experiment, whose figures lie beside the page under the experiment's name."""
    words = file.read_text(encoding="utf-8")
    words = re.sub(r"\]\(([\w-]+\.png)\)", rf"]({file.parent.name}_\1)", words)
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!http)[^)]*\)", r"`\1`", words)


# --- benchmarks ------------------------------------------------------------------------------------------------------


def _benchmarks() -> str:
    parts = [
        "# Benchmarks\n",
        "Each table was made by the command above it. Compare ratios within one table, not times between tables: the "
        "machines were shared and differ.\n",
    ]
    for name, section in _SECTIONS.items():
        content = json.loads((ROOT / f"benchmarks/{name}.json").read_text(encoding="utf-8"))
        parts += ["\n".join([*section(content)])]
    return "\n".join(parts)


def _head(title: str, run: Mapping[str, Any]) -> str:
    where = f"{run['cpu']}, {run['cores']} cores, {run['threads']} threads, {run['date'][:10]}"
    return f"## {title}\n\n```\n{run['command']}\n```\n\n{where}; torch {run['versions']['torch']}.\n"


def _neurons(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("A neuron, forward and backward", content["run"])
    yield (
        "Times as fast as SpikingJelly, and time as a multiple of `x*1`, which only reads, writes and goes through "
        "autograd.\n"
    )
    by_neuron: dict[str, list[str]] = {}
    shapes = list(dict.fromkeys(str(row["shape"]) for row in content["rows"]))
    for row in content["rows"]:
        seconds = {name: one["training_seconds"] for name, one in row["contenders"].items()}
        faster, floor = _ratio(seconds, "SpikingJelly", "fused"), _ratio(seconds, "fused", "x*1")
        by_neuron.setdefault(row["neuron"], []).extend([f"{faster}×" if faster else "", floor])
    heads = [head for shape in shapes for head in (f"{shape} faster", f"{shape} `x*1`")]
    rows = [[code(name), *cells] for name, cells in by_neuron.items() if any(cells)]
    yield table(["neuron", *heads], rows)
    yield "![Speed of all neurons](neuron.png)\n"


def _ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> str:
    """The median of the ratios within each round; empty if one of the two was not measured."""
    if not {above, below} <= seconds.keys():
        return ""
    return f"{median(a / b for a, b in zip(seconds[above], seconds[below], strict=True)):.2g}"


def _training(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("A training step of the csnn", content["run"])
    rows = [
        [
            TITLES[name],
            f"{one['images_per_second']['median']:,.0f}",
            f"{one['peak_memory']['bytes'] / 2**20:,.0f} MiB",
        ]
        for name, one in content["variants"].items()
    ]
    yield table(["", "pictures per second", "peak memory"], rows)
    yield "![A training step](train.png)\n"


def _over_steps(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("A training step over T", content["run"])
    rows = [[T, f"{1000 * median(times):.0f} ms"] for T, times in content["over_T"]["seconds_per_step"].items()]
    yield table(["T", "a step"], rows)
    yield "![Time over T](train_over_T.png)\n"


def _quantized(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("A training step in integers", content["run"])
    rows = [
        [code(name), f"{1000 * one['seconds']:.0f} ms", f"{one['ratio']:.2f}"] for name, one in content["nets"].items()
    ]
    yield table(["preset", "a step", "times the float net"], rows)


def _reading(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("Reading N-MNIST", content["run"])
    rows = [[text(name), f"{one['median']:,.0f}"] for name, one in content["samples_per_second"].items()]
    yield table(["", "recordings per second"], rows)


def _static(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("A static input computed once", content["run"])
    yield "How much faster a step is when the layers before the first neuron run once and not T times.\n"
    rows = [
        [code(name), *(f"{one[what]['faster']:.2f}×" for what in ("training step", "evaluation"))]
        for name, one in content["models"].items()
    ]
    yield table(["model", "training step", "evaluation"], rows)


def _exported(content: Mapping[str, Any]) -> Iterator[str]:
    yield _head("Export to Loihi", content["run"])
    rows = [
        [f"{content[key]:,}" for key in ("samples", "T", "export_seconds", "check_seconds", "compared", "mismatches")]
    ]
    yield table(["samples", "T", "export, s", "check, s", "values compared", "mismatches"], rows)


_SECTIONS = {
    "neuron": _neurons,
    "train": _training,
    "train_over_T": _over_steps,
    "quantize": _quantized,
    "data": _reading,
    "static_prefix": _static,
    "export": _exported,
}
