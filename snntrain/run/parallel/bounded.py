"""trainer=ddp_nodes: DDP whose processes do not wait without end for one that is gone."""

from datetime import timedelta

from lightning.pytorch.strategies import DDPStrategy


class BoundedDDP(DDPStrategy):
    """DDP in which a process gives up when another one has not answered for some time.

    When a host loses its network or its power, nobody tells the others: they wait for its gradients.

    Args:
        timeout_min: minutes, > 0. It has to be longer than anything that one process does while the others wait, such
            as reading the data before training.
        find_unused_parameters: as in torch's DistributedDataParallel.
    """

    def __init__(self, timeout_min: float = 10.0, find_unused_parameters: bool = False) -> None:
        if not timeout_min > 0:
            raise ValueError(f"timeout_min must be > 0, got {timeout_min}")
        super().__init__(timeout=timedelta(minutes=timeout_min), find_unused_parameters=find_unused_parameters)
