"""The report shows models of energy and NeuroBench's metrics, each with what it leaves out."""

from report_page import make_run, read_page, write_json


def test_models_of_energy_and_neurobenchs_metrics_stand_with_what_they_leave_out(tmp_path):
    folder = make_run(tmp_path / "run")
    assert "NeuroBench" not in read_page(folder).text  # a run of an earlier version
    about = {"title": "Against an int8 ANN", "source": "arXiv 2409.08290", "leaves_out": "control"}
    numbers = {"snn_uJ": 1.25, "ann_uJ": None, "rate": 0.125, "crossing": 0.0625}
    write_json(folder / "artifacts/energy.json", {"models": [{"name": "crossing", **about, **numbers}]})
    counts = {"footprint": 4096, "effective_acs": None, "activation_sparsity": 0.9, "samples": 20}
    more = {"membrane_samples": 10, "undefined": {"effective_acs": "products elsewhere"}, "source": "Yik et al."}
    write_json(folder / "artifacts/neurobench.json", counts | more)
    page = read_page(folder)
    assert page.notes == {}
    for shown in (
        *("Against an int8 ANN 1.25 not defined arXiv 2409.08290 control", "Spikes pass 12.50 %", "below 6.25 %"),
        *("footprint 4,096", "activation_sparsity 90.00 %", "effective_acs not defined products elsewhere"),
        *("neuron_ops not defined", "those of 10 of the 20 test samples"),
    ):
        assert shown in page.text, shown
