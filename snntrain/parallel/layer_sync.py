"""Batch normalisation over the processes of a run: trainer.sync_batchnorm=true."""

from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import nn

from snntrain.layer import convert_sync_batchnorm
from snntrain.layer.normalization import BatchStatistics


class StepSyncBatchNorm(TorchSyncBatchNorm):
    """Lets the batch normalisations of snntrain take their statistics over all processes while a fit lasts.

    Lightning's own would replace them by torch's SyncBatchNorm, which knows no step modes. Layers keep class, keys and
    step mode; those of torch are replaced during the fit, and put back afterwards with what they have learnt.
    """

    def __init__(self) -> None:
        self._switched: list[BatchStatistics] = []
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        """Raises: ValueError naming a layer whose batch statistics cannot be shared."""
        refuse_unshared_statistics(model)
        for parent in model.modules():
            if isinstance(parent, BatchStatistics) and not parent.synchronized:
                self._switched.append(parent)
            for name, child in parent.named_children():
                if is_of_torch(child):
                    self._replaced.append((parent, name, child))
        return convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        for layer in self._switched:
            layer.synchronized = False
        for parent, name, layer in self._replaced:
            shared = getattr(parent, name)
            layer._parameters, layer._buffers = shared._parameters, shared._buffers
            layer.train(shared.training)
            setattr(parent, name, layer)
        self._switched.clear()
        self._replaced.clear()
        return model


def is_of_torch(layer: nn.Module) -> bool:
    """Whether it is a batch normalisation of torch's own."""
    kind = nn.modules.batchnorm._BatchNorm
    return isinstance(layer, kind) and not isinstance(layer, (BatchStatistics, nn.SyncBatchNorm))


def refuse_unshared_statistics(model: nn.Module) -> None:
    """Raises: ValueError naming the first layer with running statistics of another kind."""
    for path, layer in model.named_modules():
        if getattr(layer, "running_mean", None) is not None and not isinstance(layer, nn.modules.batchnorm._BatchNorm):
            kind = f"{type(layer).__module__}.{type(layer).__name__}"
            raise ValueError(
                f"trainer.sync_batchnorm=true: {path} ({kind}) cannot take its statistics over several processes. Use "
                "another norm or trainer.sync_batchnorm=false."
            )
