"""The sections of a run's report about its fit-end callbacks."""

from collections.abc import Callable
from typing import Any

from snntrain.report.run_files import RunFiles
from snntrain.run.folder import RunFolder, artifact


def chosen_callbacks(run: RunFiles) -> dict[str, Any]:
    """The callbacks of the run's config; {} if it cannot be read."""
    callbacks = run.read_or(RunFolder.config, {}).get("callbacks")
    return callbacks if isinstance(callbacks, dict) else {}


def _conversion(run: RunFiles) -> dict[str, Any]:
    from snntrain.callback.fit_end.figure import accuracy_figure
    from snntrain.figure import svg

    result = run.read(artifact("ann2snn/conversion.json"))
    ann, report = result["acc_ann"], result["report"]
    figure = accuracy_figure(result["acc"], ann)
    neurons = [row | {"rate": result["firing_rates"].get(row["node"])} for row in report["rows"] if row["theta_mean"]]
    return {
        "plot": svg(figure, "conversion"),
        "accuracy": [(int(T), share, 100 * (share - ann)) for T, share in result["acc"].items()],
        "settings": report["settings"],
        "neurons": neurons,
        "nodes": report["rows"],
        **{key: result[key] for key in ("T", "samples", "acc_ann", "firing_rate", "remarks")},
    }


def _quantization(run: RunFiles) -> dict[str, Any]:
    result = run.read(artifact("qat/quantization.json"))
    labels = {"acc_float": "float", "acc_ptq": "quantized", "acc_qat": "fine-tuned", "acc_int": "integers only"}
    whole = result["acc_float"]
    accuracies = [(label, result[key], 100 * (result[key] - whole)) for key, label in labels.items() if key in result]
    keys = ("T", "layers", "samples", "verified_samples", "mismatches", "size_bytes", "float_bytes", "epochs")
    return {"accuracies": accuracies, **{key: result[key] for key in keys}}


def _lava(run: RunFiles) -> dict[str, Any]:
    result = run.read(artifact("lava/lava.json"))
    in_lava = result["lava"].get("layers", {})
    keys = ("T", "samples", "compared_samples", "acc", "mismatches", "spikes", "sops", "layers", "lava", "note")
    layers = [row | {"in_lava": in_lava.get(row["name"])} for row in result["layers"]]
    plan = run.read_or(artifact("lava/plan.txt"), "").split("\n\n")[0]
    return {key: result[key] for key in keys} | {"layers": layers, "plan": plan}


def _nir(run: RunFiles) -> dict[str, Any]:
    result = run.read(artifact("nir/nir.json"))
    return {key: result[key] for key in ("T", "dt", "samples", "mismatches", "compared", "acc_net", "acc", "nodes")}


STAGE_SECTIONS: dict[str, tuple[str, Callable[[RunFiles], dict[str, Any]]]] = {
    "ann2snn": ("ANN → SNN conversion", _conversion),
    "qat": ("Quantization", _quantization),
    "lava": ("Export to Loihi", _lava),
    "nir": ("Export to NIR", _nir),
}
