"""Write what people read about recorded experiments: the README and curves of each, and the table of all."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snntrain.error import UsageError
from snntrain.files import damage, read_text, read_yaml
from snntrain.headline import HEADLINES, headline_of, is_of_headline, long_name
from snntrain.lab.experiment.measured import RULE, is_accuracy, samples_behind
from snntrain.lab.experiment.recorded import GENERATED, NOTES, Record, recorded_names
from snntrain.number_format import binomial_error, metric, plus_minus
from snntrain.run.contents import curves_of
from snntrain.run.folder import RunFolder
from snntrain.run.pretrained import FOLDER, WeightsFolder

REMARK = "remark.txt"
"""File with a person's sentence for the README of a record, such as what the same recipe gave on other data."""

MOST_SEEDS = 8
"""Seeds that have a column and a name in the curves each; of more, the smallest and the largest value are shown."""

BINOMIAL = (
    "In brackets the binomial error √(q(1 − q)/n) of a share q of the n = {samples}: what another test set of that "
    "size would add to the spread over the seeds."
)


def main_metrics(names: list[str]) -> list[str]:
    """Metrics of the whole net that the test and the callbacks measured, the headline metric first."""
    headline = headline_of(names)
    whole = [name for name in names if name.count("/") == 1 and name.split("/")[0] not in ("train", "val")]
    return sorted(whole, key=lambda name: (not is_of_headline(name, headline), name.split("/")[0] != "test", name))


def shown(name: str, value: float | None) -> str:
    """Format a metric for people."""
    return "not a number" if value is None else metric(float(value), name)


def mean_and_std(name: str, entry: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """Format a metric over the seeds, an accuracy with its binomial error: 93.50 ± 0.50 % (± 1.74)."""
    mean, std = entry["mean"], entry["std"]
    if mean is None or std is None:
        return f"{shown(name, mean)} ± {shown(name, std)}"
    error = binomial_error(mean, samples_behind(name, sizes)) if is_accuracy(name) else None
    return plus_minus(name, mean, std, error)


def readme(
    name: str,
    expected: Mapping[str, Any],
    facts: Mapping[str, Any],
    has_notes: bool,
    claims: Sequence[Mapping[str, str]] = (),
    remark: str = "",
    weights: str = "",
) -> str:
    """README.md of a record.

    Args:
        expected, facts: content of expected.json and provenance.json.
        has_notes: whether there is an earlier README, written by hand.
        claims: values from papers, see literature.
        remark: see REMARK.
        weights: see about_weights.
    """
    seeds, metrics = expected["seeds"], expected["metrics"]
    rows = main_metrics(list(metrics))
    has_shares = any(map(is_accuracy, rows))
    are_many = len(seeds) > MOST_SEEDS
    heads = ["", *(("smallest", "largest") if are_many else (f"seed {seed}" for seed in seeds)), "mean ± std"]
    table = [_row(heads), _row(["---"] * len(heads))]
    for row in rows:
        values = [entry["metrics"][row] for entry in seeds.values()]
        cells = [shown(row, value) for value in (_ends(values) if are_many else values)]
        table.append(_row([row, *cells, mean_and_std(row, metrics[row], expected["samples"])]))
    seconds = [sum(entry["seconds"].values()) for entry in seeds.values()]
    table.append(_row(["seconds", *(f"{taken:.0f}" for taken in (_ends(seconds) if are_many else seconds)), ""]))
    hardware, versions = facts["hardware"], facts["versions"]
    machine = ", ".join([*hardware.get("gpus", []), f"{hardware['processor']} ({hardware['instructions']})"])
    threads = f"{hardware['torch_threads']} thread{'s' * (hardware['torch_threads'] != 1)}"
    lines = [
        GENERATED,
        f"# {name}",
        "",
        _cell(expected["what"]),
        "",
        "```",
        facts["command"],
        f"python scripts/reproduce.py {name} --seed {next(iter(seeds))}",
        "```",
        "",
        *table,
        "",
        f"{machine}, {threads}; Python {versions['python']}, torch {versions['torch']}, "
        f"lightning {versions['lightning']}; commit {facts['commit'][:12]}, {facts['time'][:10]}; "
        f"{_sizes(expected['samples'])}.",
        "",
        *([BINOMIAL.format(samples=f"{expected['samples']['test']:,} test samples"), ""] if has_shares else []),
        *([_cell(remark), ""] if remark else []),
        *([weights, ""] if weights else []),
        *(f"- {_claim(claim)}" for claim in claims),
        *([""] if claims else []),
        "A repetition is exact to the last bit with the packages of lock.txt on the same class of hardware; elsewhere "
        f"it may lie off by {RULE}. Every number is in expected.json.",
        "",
        "![curves](curves.png)",
        *(["", f"Earlier, by hand: [{NOTES}]({NOTES})"] if has_notes else []),
    ]
    return "\n".join(lines) + "\n"


def _ends(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (None, None)


def _sizes(samples: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in samples.items()) + " samples"


def curves(runs: Mapping[int, Path]) -> bytes:
    """Draw loss and headline metric over the epochs of each seed's run folder, as PNG."""
    from snntrain.figure import BLUE, FULL_WIDTH, GREEN, ORANGE, RED, new_figure, style

    colors = (BLUE, ORANGE, GREEN, RED)
    with style():
        figure = new_figure(FULL_WIDTH, 3.2)
        found = {seed: curves_of(RunFolder(folder).read(RunFolder.metrics)) for seed, folder in runs.items()}
        logged = {name for columns in found.values() for name in columns}
        headline = next((name for name in HEADLINES if f"val/{name}" in logged), "acc")
        for axis, drawn in zip(figure.subplots(1, 2), ("loss", headline), strict=True):
            for number, (seed, columns) in enumerate(found.items()):
                for split, line in (("train", ":"), ("val", "-")):
                    points = columns.get(f"{split}/{drawn}", [])
                    label = f"seed {seed}" if split == "val" else None
                    marker = "o" if len(points) < 4 else None
                    color = colors[number % len(colors)]
                    axis.plot(*(np.array(points).reshape(-1, 2).T), line, color=color, label=label, marker=marker)
            title = long_name(drawn)
            axis.set_title(title[:1].upper() + title[1:])
            axis.set_xlabel("epoch; dotted: training, solid: validation")
            axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            axis.grid(True)
        if len(runs) <= MOST_SEEDS:
            axis.legend(loc="lower right")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def table_text(experiments: Path) -> str:
    """experiments/README.md: all measured results."""
    lines = [
        "<!-- generated by python scripts/record.py --table -->",
        "# Recorded experiments",
        "",
        "`python train.py experiment=<name>` runs one, `python scripts/reproduce.py <name>` repeats it and compares, "
        "`python scripts/record.py <name>` records it anew. Mean ± standard deviation over the seeds. "
        + BINOMIAL.format(samples="samples of the test set"),
        "",
        _row(["experiment", "what", "measured", "seeds", "time per seed", "literature"]),
        _row(["---"] * 6),
    ]
    names = recorded_names(experiments)
    for name in names:
        record = Record(experiments / name)
        expected = record.read(Record.expected)
        try:
            lines.append(_table_row(name, expected, literature(experiments / name)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{record.expected} is damaged ({error!r}).") from error
    others = sorted(path.parent for path in experiments.glob("*/README.md") if path.parent.name not in names)
    if others:
        lines += ["", "## Other measurements", ""]
        lines += [f"- [{_cell(_title(folder))}]({folder.name}/README.md)" for folder in others]
    return "\n".join(lines) + "\n"


def _table_row(name: str, expected: Mapping[str, Any], claims: list[dict[str, str]]) -> str:
    metrics, seeds = expected["metrics"], expected["seeds"]
    headline = headline_of(metrics)
    rows = [name for name in main_metrics(list(metrics)) if is_of_headline(name, headline) or "mismatches" in name]
    rows += [name for name in ("test/firing_rate", "test/loss") if name in metrics and not rows]
    sizes = expected["samples"]
    measured = "<br>".join(f"{_cell(row)} {mean_and_std(row, metrics[row], sizes)}" for row in rows)
    seconds = [sum(entry["seconds"].values()) for entry in seeds.values()]
    claimed = "<br>".join(map(_claim, claims))
    time = f"{sum(seconds) / len(seconds):,.0f} s"
    link = f"[{_cell(name)}]({name}/README.md)"
    return _row([link, _cell(expected["what"]), measured, str(len(seeds)), time, claimed])


def _claim(claim: Mapping[str, str]) -> str:
    return _cell(f"{claim['value']}, {claim['what']} ({claim['source']})")


def pages(experiments: Path) -> dict[Path, str]:
    """The README of every record and the table of all, made from the records."""
    found = {experiments / "README.md": table_text(experiments)}
    for name in recorded_names(experiments):
        folder = experiments / name
        record = Record(folder)
        expected, facts = record.read(Record.expected), record.read(Record.provenance)
        with damage(record.provenance):
            more = {"claims": literature(folder), "remark": remark(folder), "weights": about_weights(folder)}
            found[record.readme] = readme(name, expected, facts, (folder / NOTES).is_file(), **more)
    return found


def about_weights(folder: Path) -> str:
    """What the README of a record says of the weights that it ships, empty without them."""
    shipped = WeightsFolder(folder / FOLDER)
    if not shipped.certificate.is_file():
        return ""
    certificate, name = shipped.read(WeightsFolder.certificate), folder.name
    with damage(shipped.provenance):
        facts = shipped.read(WeightsFolder.provenance)
        machine, commit = facts["hardware"]["processor"], str(facts["commit"])[:12]
    return (
        f"[{FOLDER}]({FOLDER}/) holds the weights of seed {certificate.seed}, the best one in validation, trained on "
        f'{machine} at commit {commit}: `snntrain.create_model("{name}", pretrained=True)`, or '
        f"`python train.py init_from={name} …`. `python scripts/reproduce.py {name} --weights` tests them again."
    )


def remark(folder: Path) -> str:
    """The text of REMARK, empty without it."""
    return read_text(folder / REMARK).strip() if (folder / REMARK).is_file() else ""


def literature(folder: Path) -> list[dict[str, str]]:
    """Values from papers that stand beside a record: literature.yaml, a list of {value, what, source}, or nothing."""
    path = folder / "literature.yaml"
    if not path.is_file():
        return []
    claims = read_yaml(path, kind=list)
    keys = {"value", "what", "source"}
    if not all(isinstance(claim, dict) and claim.keys() == keys for claim in claims):
        raise UsageError(f"{path} must be a list of entries with value, what and source, got {claims!r}.")
    return [{key: str(value) for key, value in claim.items()} for claim in claims]


def _title(folder: Path) -> str:
    lines = read_text(Record(folder).readme).splitlines()
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), folder.name)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that is one cell of a table and nothing else, whatever is in it."""
    plain = " ".join(str(text).split())
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("[", "\\["), ("]", "\\]")):
        plain = plain.replace(character, written)
    return plain


def json_text(value: Any) -> str:
    """A value as JSON, with null for what is no number."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value - value != 0 else value
