"""Check of what may be counted as accumulations."""

from collections.abc import Iterator, Sequence
from typing import Any

from snntrain.audit.finding import Seen, check
from snntrain.audit.subject import Subject
from snntrain.audit.survey import Survey
from snntrain.model.profile import profile


def rows_of(subject: Subject) -> list[dict[str, Any]]:
    """The modules of a net with their operations, see snntrain.model.profile; [] of a net that cannot take zeros."""
    try:
        return profile(subject.fresh(), tuple(subject.x.shape[2:]), subject.T)
    except ValueError:
        return []


@check(
    "no spikes enter",
    severity="warning",
    remedy="Count its products as multiply-accumulates, or put neurons before it. Of counts, as sums of spikes are, n "
    "is n accumulations, and only a chip with graded spikes sends it as one.",
    source="github.com/zhouchenlin2096/QKFormer/issues/5",
)
def no_spikes_enter(survey: Survey, rows: Sequence[dict[str, Any]]) -> Iterator[Seen]:
    """Behind the first neurons, layers of weights whose input is no spikes, so that they do more than accumulate."""
    if not survey.neurons:
        return
    first = min(survey.modules[path].place for path in survey.neurons)
    for row in rows:
        seen = survey.modules.get(row["path"])
        if seen is None or not row["macs"] or seen.place < first or _holds_neurons(survey, row["path"]):
            continue
        if seen.gets.kind == "values":
            yield Seen(row["path"], f"{row['name']} multiplies with values that are no spikes and no sums of spikes.")
        elif seen.gets.kind == "counts":
            largest = f"{seen.gets.largest:g}"
            yield Seen(
                row["path"], f"{row['name']} is given sums of spikes, up to {largest}, not spikes.", severity="info"
            )


def _holds_neurons(survey: Survey, path: str) -> bool:
    """Whether a module is, or holds, a layer of neurons: what enters it is its neurons' business."""
    return any(neuron == path or neuron.startswith(f"{path}.") for neuron in survey.neurons)
