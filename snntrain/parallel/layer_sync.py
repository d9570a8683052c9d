"""trainer.sync_batchnorm=true: batch normalization over the processes of a run."""

from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import nn

from snntrain.layer import convert_sync_batchnorm
from snntrain.layer.normalization import BatchStatistics


class StepSyncBatchNorm(TorchSyncBatchNorm):
    """Let the batch normalizations of snntrain share their statistics over all processes during a fit.

    Lightning's own plugin would replace them by torch's SyncBatchNorm, which has no step modes. Our layers keep class,
    keys and step mode. Those of torch are replaced during the fit, and restored afterwards with what they have learned.
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
    """Whether a layer is a batch normalization of torch itself."""
    kind = nn.modules.batchnorm._BatchNorm
    return isinstance(layer, kind) and not isinstance(layer, (BatchStatistics, nn.SyncBatchNorm))


def refuse_unshared_statistics(model: nn.Module) -> None:
    """Refuse running statistics of another kind. Raises: ValueError naming the first layer that has them."""
    for path, layer in model.named_modules():
        if getattr(layer, "running_mean", None) is not None and not isinstance(layer, nn.modules.batchnorm._BatchNorm):
            kind = f"{type(layer).__module__}.{type(layer).__name__}"
            raise ValueError(
                f"trainer.sync_batchnorm=true: {path} ({kind}) cannot share its statistics between processes. Use "
                "another norm or trainer.sync_batchnorm=false."
            )
