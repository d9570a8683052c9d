"""Processes that train together: each reads its share of every epoch."""

from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import torch
from small_training import Patches, small_task, trainer

from snntrain.data import EpochSampler


def order(data: Patches, epoch: int) -> list[int]:
    sampler = EpochSampler(90, data.seed)
    sampler.set_epoch(epoch)
    return [position for _, position in sampler]


def test_each_process_reads_its_share(tmp_path):
    """What Lightning tells each of three processes; the batches of all are the whole split."""
    found = {"train": [], "val": []}
    for rank in range(3):
        data = Patches(batch_size=8)
        data.setup()
        progress = SimpleNamespace(current=SimpleNamespace(processed=2))
        data.trainer = SimpleNamespace(
            global_rank=rank,
            world_size=3,
            overfit_batches=0,
            fit_loop=SimpleNamespace(epoch_progress=progress),
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        for name, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
            found[name].append([index for *_, index in loader])
    for name, per_process in found.items():
        drawn = torch.cat([torch.cat(batches) for batches in per_process])
        assert torch.equal(drawn.sort().values, data.splits[name].index.sort().values)
        assert len({len(batches) for batches in per_process}) == 1
    in_turns = torch.stack([torch.cat(batches) for batches in found["train"]], dim=1).flatten()
    assert torch.equal(in_turns, data.splits["train"].index[order(data, 2)])


class Places(pl.Callback):
    """Writes down the index of every batch that a process of several gets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, trainer: pl.Trainer, stage: str, batch: tuple) -> None:
        with (self.folder / f"{stage}_{trainer.current_epoch}_{trainer.global_rank}").open("a") as file:
            print(*batch[2].tolist(), file=file)

    def on_train_batch_start(self, trainer, pl_module, batch, idx) -> None:
        self.note(trainer, "train", batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, *args) -> None:
        self.note(trainer, "val", batch)


def test_two_processes_train_together_on_every_sample_once(tmp_path):
    """90 + 10 pictures in batches of 8, the last ones of 2: no process waits for one that the other lacks."""
    places = tmp_path / "places"
    places.mkdir()
    settings = {"strategy": "ddp_fork", "devices": 2, "use_distributed_sampler": False}
    data = Patches(batch_size=4, num_workers=1)
    trainer(tmp_path, Places(places), **settings).fit(small_task(), datamodule=data)
    data.setup()
    for stage, epoch in (("train", 0), ("train", 1), ("val", 0), ("val", 1)):
        lines = [(places / f"{stage}_{epoch}_{rank}").read_text().splitlines() for rank in (0, 1)]
        assert len(lines[0]) == len(lines[1]) == {"train": 12, "val": 2}[stage]
        found = [int(place) for own in lines for line in own for place in line.split()]
        assert sorted(found) == sorted(data.splits[stage].index.tolist())
