"""The measured part of docs/benchmarks.md, made from what run.py wrote."""

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from libraries.cases import CASES
from libraries.contenders import FLOOR
from libraries.equations import Form
from libraries.report import firing, ranked, share, to_ours

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def update(page: Path, content: Mapping[str, Any]) -> None:
    """Replace what stands between the marks of a page. Raises: ValueError if it has not both, in this order."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} must hold the lines {BEGIN} and {END}, between which the tables go.")
    page.write_text(f"{before}{BEGIN}\n\n{measured(content)}\n{END}{after}", encoding="utf-8")


def measured(content: Mapping[str, Any]) -> str:
    """All tables."""
    run = content["run"]
    loaded = run["load_average_before"][0]
    parts = [
        f"Measured {run['date'][:10]} on {run['cpu']}, {run['cores']} cores, {run['threads']} threads, "
        f"with a load average of {loaded} before it began"
        + (", so that other programs took part of the cores.\n" if loaded > 0.5 else ".\n"),
        *libraries(content["contenders"]),
    ]
    for name, result in content["cases"].items():
        parts += [*case(name, result, content["contenders"])]
    return "\n".join(parts)


def libraries(described: Mapping[str, Any]) -> Iterator[str]:
    """Versions, and how the equations differ."""
    yield "| library | version | its neuron, beside h = v + (i − v)/τ, s = [h ≥ 1], v = 0 after a spike |"
    yield "|---|---|---|"
    missing = []
    for name, facts in described.items():
        if name == FLOOR:
            continue
        if "missing" in facts:
            missing.append(f"- {name}: {facts['missing']}")
            continue
        library, version = next(iter(facts["versions"].items()))
        on = next(f"{on} {facts['versions'][on]}" for on in ("torch", "jax") if on in facts["versions"])
        form = "; ".join(Form(**facts["form"]).differences()) or "the same"
        yield f"| {facts['title']} | {library} {version}, {on} | {form} |"
    yield ""
    if missing:
        yield "\n".join(["Not measured:", "", *missing, ""])


def case(name: str, result: Mapping[str, Any], described: Mapping[str, Any]) -> Iterator[str]:
    """The table of one case, the fastest first."""
    stated, rows = CASES[name], result["rows"]
    parts = ("forward", "backward", *(("step",) if stated.is_net else ()), "both")
    titles = {"step": "Adam", "both": "together"}
    agree = ["scores as ours"] if stated.is_net else ["spikes as its equations", "as ours", "gradient"]
    head = ["", *(f"{titles.get(part, part)}, ms" for part in parts), "÷ snntrain", "memory, MB", "firing", *agree]
    yield f"### {stated.title}\n"
    rounds = max((len(row["seconds"]["both"]) for row in rows.values()), default=0)
    yield f"T = {stated.T}, batch {stated.N}, {_inputs(stated.inputs, stated.gain)}; rounds: {rounds}.\n"
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for one in ranked(rows):
        row = rows[one]
        seconds = row["seconds"]
        cells = [described[one]["title"], *(_milliseconds(seconds[part]) for part in parts)]
        ratio = to_ours(rows, one)
        cells.append("" if ratio is None else f"{ratio:.2f}")
        cells.append("" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:,.0f}")
        cells += [firing(row).replace("-", ""), *_agreement(one, row, stated.is_net)]
        yield f"| {' | '.join(cells)} |"
    yield ""
    reasons: dict[str, list[str]] = {}
    for one, reason in result["left_out"].items():
        reasons.setdefault(reason, []).append(described[one]["title"])
    for reason, titled in reasons.items():
        yield f"Not here: {', '.join(titled)} ({reason}).\n"
    for row in rows.values():
        if own := row.get("own_benchmark"):
            here, there = (
                [f"{1e3 * own[of][part]:.3f}" for part in ("forward", "both")] for of in ("measured", "published")
            )
            yield (
                "Spyx's own harness, `spyx.bench`, here with a decay per neuron that is learned: "
                f"{here[0]} ms forward and {here[1]} ms together on this machine. "
                f"Its repository publishes {there[0]} and {there[1]} ms from its author's.\n"
            )


def _agreement(name: str, row: Mapping[str, Any], is_net: bool) -> list[str]:
    if name == FLOOR:
        return [""] * (1 if is_net else 3)
    if is_net:
        return [share(row["scores"]["equal"])] if "scores" in row else [""]
    spikes = row["spikes"]
    cosine = f"{row['gradient_cosine']:.3f}" if "gradient_cosine" in row else ""
    return [share(spikes["own"]) + ("" if spikes["same"] else " ✗"), share(spikes["common"]), cosine]


def _milliseconds(seconds: list[float]) -> str:
    value = 1e3 * statistics.median(seconds)
    return f"{value:.3f}" if value < 10 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _inputs(inputs: str | float, gain: float) -> str:
    if inputs == "picture":
        return "the same `randn` at every step"
    return (
        f"{100 * inputs:g} % of the inputs are spikes"
        if isinstance(inputs, float)
        else ("inputs `randn`" if gain == 1 else f"inputs {gain:g}·`randn`")
    )
