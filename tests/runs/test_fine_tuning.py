"""init_from=… and freeze=[…]: what is loaded, what stays, and what is refused."""

import pytest
import torch
from made_samples import write_pictures
from programs import complete, results

import snntrain
from snntrain.error import UsageError
from snntrain.run.fine_tuning import freeze

IN_A_LOOP = ("data.batch_size=256", "neuron.backend=torch")  # no kernel has to be compiled
CSNN = ("model=csnn", "model.channels=4", "model.features=16", "T=2", "trainer.max_epochs=1", *IN_A_LOOP)


@pytest.fixture(scope="module")
def stem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stem")
    complete("train.py", *CSNN, f"hydra.run.dir={folder / 'run'}", cwd=folder)
    return folder / "run"


def test_a_frozen_stem_keeps_its_weights_and_statistics_under_a_new_head(stem, tmp_path):
    done = complete(
        "train.py",
        *CSNN,
        f"init_from={stem}",
        "freeze=[layers.0,layers.1,layers.4*,layers.5]",
        "model.features=24",
        f"hydra.run.dir={tmp_path / 'run'}",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert (
        "init_from: 13 of 15 entries" in said
        and "another shape here, left as initialized: layers.11.weight, layers.9" in said
    )
    before, after = snntrain.load(stem).net.state_dict(), snntrain.load(tmp_path / "run").net.state_dict()
    for name, value in before.items():
        if int(name.split(".")[1]) <= 6:
            assert torch.equal(value, after[name]), name
    assert results(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["init_from=nowhere"], "'nowhere' is no file or folder, and no recorded experiment with weights"),
        (["freeze=[layer.0]"], "Did you mean layers.0?"),
        (["freeze=['*']"], "leaves nothing to train"),
    ],
)
def test_what_cannot_be_is_refused_before_data_is_read(words, named, tmp_path):
    done = complete("train.py", *CSNN, *words, cwd=tmp_path)
    assert done.returncode == 2 and named in " ".join(done.stderr.split())


def test_a_net_of_which_nothing_fits_is_refused(stem, tmp_path):
    done = complete("train.py", "model=mlp", "model.features=7", f"init_from={stem}", cwd=tmp_path)
    assert done.returncode == 2 and "none of its weights" in " ".join(done.stderr.split())


def test_freezing_takes_patterns():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))
    freeze(net, ["0", "1"])
    assert [parameter.requires_grad for parameter in net.parameters()] == [False] * 4 + [True] * 2
    assert not net[1].training and net[2].training
    with pytest.raises(UsageError, match="no layer of this net"):
        freeze(net, ["7"])


@pytest.mark.slow
def test_a_record_gives_a_net_for_five_classes_its_frozen_stem(tmp_path):
    """Fine-tuning from the weights of a record: a stem that stays, and a head for other classes."""
    done = complete(
        "train.py",
        *(
            "data=image_folder",
            f"data.folder={write_pictures(tmp_path / 'pictures', per_class=8)}",
            "data.num_classes=5",
            "data.size=28",
        ),
        *("data.sample_shape=[1,28,28]", "data.num_workers=0", "trainer.max_epochs=1", "init_from=fmnist_csnn"),
        *("freeze=[layers.0,layers.1,layers.4,layers.5]", f"hydra.run.dir={tmp_path / 'run'}"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "of fmnist_csnn, the weights of fmnist_csnn, seed 2 loaded" in said and "another shape here" in said
    shipped = snntrain.create_model("fmnist_csnn", pretrained=True).state_dict()
    tuned = snntrain.load(tmp_path / "run").net.state_dict()
    assert tuned["layers.11.weight"].shape == (5, shipped["layers.11.weight"].shape[1])
    for name in ("layers.0.weight", "layers.1.running_mean", "layers.4.weight"):
        assert torch.equal(tuned[name], shipped[name]), name
