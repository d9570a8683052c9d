"""Allowed values of numeric arguments of torch's and Lightning's classes, and of all numbers: they must be finite."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks, loggers
from torch import nn, optim
from torch.optim import lr_scheduler

from snntrain.arguments import Bounds
from snntrain.error import UsageError
from snntrain.ranges import Allowed, BatchLimit, Duration, OneOf, Range, number, set_ranges, whole
from snntrain.tree import walk

LARGEST = 2**63 - 1
"""The largest integer that torch can hold."""


_ANY = number()
_NOT_NEGATIVE = number(at_least=0)
_POSITIVE = number(above=0)
_SHARE = number(at_least=0, at_most=1)
_BELOW_ONE = number(at_least=0, below=1)
_COUNT = whole(1)
_COUNT_OR_NONE = whole(1, None)

# --- optimizers: torch/optim/<name>.py, whose constructors check signs but not infinities ----------------------------
# eps must be positive, or a gradient of 0 would be divided by 0.

_RATES = {"lr": _NOT_NEGATIVE, "weight_decay": _NOT_NEGATIVE}
_ADAM = {**_RATES, "betas": _BELOW_ONE, "eps": _POSITIVE}
for _optimizer in (optim.Adam, optim.AdamW, optim.Adamax, optim.RAdam, optim.SparseAdam):
    set_ranges(_optimizer, f"torch.optim.{_optimizer.__name__}: 'Invalid beta parameter' and others", **_ADAM)
set_ranges(optim.NAdam, "torch.optim.NAdam: 'Invalid momentum_decay value'", **_ADAM, momentum_decay=_NOT_NEGATIVE)
set_ranges(
    optim.SGD,
    "torch.optim.SGD: 'Invalid momentum value' below 0; above 1 the steps grow without limit",
    **_RATES,
    momentum=_SHARE,
    dampening=_SHARE,
)
set_ranges(
    optim.RMSprop, "torch.optim.RMSprop: 'Invalid alpha value'", **_RATES, alpha=_SHARE, eps=_POSITIVE, momentum=_SHARE
)
set_ranges(
    optim.Adagrad,
    "torch.optim.Adagrad: 'Invalid lr_decay value' and others",
    **_RATES,
    lr_decay=_NOT_NEGATIVE,
    initial_accumulator_value=_NOT_NEGATIVE,
    eps=_POSITIVE,
)
set_ranges(optim.Adadelta, "torch.optim.Adadelta: 'Invalid rho value'", **_RATES, rho=_SHARE, eps=_POSITIVE)
set_ranges(
    optim.Adafactor,
    "torch.optim.Adafactor: 'Clipping threshold d should be >= 1' and others",
    **_RATES,
    beta2_decay=number(at_most=0),
    eps=number(above=0, also=(None,)),
    d=number(at_least=1),
)
set_ranges(optim.ASGD, "torch.optim.ASGD", **_RATES, lambd=_NOT_NEGATIVE, alpha=_NOT_NEGATIVE, t0=_NOT_NEGATIVE)
set_ranges(
    optim.Rprop, "torch.optim.Rprop: 'Invalid eta values'", lr=_NOT_NEGATIVE, etas=_POSITIVE, step_sizes=_POSITIVE
)
set_ranges(
    optim.LBFGS,
    "torch.optim.LBFGS",
    lr=_NOT_NEGATIVE,
    max_iter=_COUNT,
    max_eval=_COUNT_OR_NONE,
    tolerance_grad=_NOT_NEGATIVE,
    tolerance_change=_NOT_NEGATIVE,
    history_size=_COUNT,
)
if hasattr(optim, "Muon"):  # since torch 2.9
    set_ranges(
        optim.Muon,
        "torch.optim.Muon",
        **_RATES,
        momentum=_SHARE,
        ns_coefficients=_ANY,
        eps=_POSITIVE,
        ns_steps=whole(1, at_most=99),
    )

# --- schedules: torch/optim/lr_scheduler.py, which checks few ------------------------------


def _schedule(target: type[lr_scheduler.LRScheduler], **by_argument: Allowed) -> None:
    source = f"torch.optim.lr_scheduler.{target.__name__}; a learning rate is never negative"
    set_ranges(target, source, last_epoch=OneOf(-1), **by_argument)  # a resumed run's comes with its checkpoint


_schedule(lr_scheduler.LRScheduler)
_schedule(lr_scheduler.StepLR, step_size=_COUNT, gamma=_NOT_NEGATIVE)
_schedule(lr_scheduler.MultiStepLR, milestones=_COUNT, gamma=_NOT_NEGATIVE)
_schedule(lr_scheduler.ConstantLR, factor=_SHARE, total_iters=whole(0))
_schedule(lr_scheduler.LinearLR, start_factor=number(above=0, at_most=1), end_factor=_SHARE, total_iters=_COUNT)
_schedule(lr_scheduler.ExponentialLR, gamma=_NOT_NEGATIVE)
_schedule(lr_scheduler.PolynomialLR, total_iters=_COUNT, power=_NOT_NEGATIVE)
_schedule(lr_scheduler.CosineAnnealingLR, T_max=_COUNT, eta_min=_NOT_NEGATIVE)
_schedule(lr_scheduler.CosineAnnealingWarmRestarts, T_0=_COUNT, T_mult=_COUNT, eta_min=_NOT_NEGATIVE)
_schedule(
    lr_scheduler.OneCycleLR,
    max_lr=_POSITIVE,
    total_steps=_COUNT_OR_NONE,
    epochs=_COUNT_OR_NONE,
    steps_per_epoch=_COUNT_OR_NONE,
    pct_start=_SHARE,
    base_momentum=_BELOW_ONE,
    max_momentum=_BELOW_ONE,
    div_factor=_POSITIVE,
    final_div_factor=_POSITIVE,
)
_schedule(
    lr_scheduler.CyclicLR,
    base_lr=_NOT_NEGATIVE,
    max_lr=_POSITIVE,
    step_size_up=_COUNT,
    step_size_down=_COUNT_OR_NONE,
    gamma=_NOT_NEGATIVE,
    base_momentum=_BELOW_ONE,
    max_momentum=_BELOW_ONE,
)
_schedule(lr_scheduler.SequentialLR, milestones=_COUNT)
_schedule(
    lr_scheduler.ReduceLROnPlateau,
    factor=number(at_least=0, below=1),
    patience=whole(0),
    threshold=_NOT_NEGATIVE,
    cooldown=whole(0),
    min_lr=_NOT_NEGATIVE,
    eps=_NOT_NEGATIVE,
)

# --- Lightning -------------------------------------------------------------------------------------------------------


set_ranges(
    pl.Trainer,
    "lightning.pytorch.Trainer; data_connector.py and training_epoch_loop.py use the intervals as divisors",
    num_nodes=_COUNT,
    fast_dev_run=whole(0, True, False),
    max_epochs=_COUNT,  # -1 and null, which have no end, leave schedules and progress without one
    min_epochs=whole(0, None),
    max_steps=whole(1, -1),
    min_steps=whole(0, None),
    max_time=Duration(),
    limit_train_batches=BatchLimit(),
    limit_val_batches=BatchLimit(or_none=True),
    limit_test_batches=BatchLimit(),
    limit_predict_batches=BatchLimit(or_none=True),
    overfit_batches=BatchLimit(or_none=True),
    val_check_interval=BatchLimit(or_time=True),
    check_val_every_n_epoch=_COUNT_OR_NONE,
    num_sanity_val_steps=whole(-1, None),
    log_every_n_steps=whole(0, None),
    accumulate_grad_batches=_COUNT,
    gradient_clip_val=number(above=0, also=(None,)),
    gradient_clip_algorithm=OneOf("norm", "value", None),
    reload_dataloaders_every_n_epochs=whole(0),
)
set_ranges(
    callbacks.ModelCheckpoint,
    "lightning.pytorch.callbacks.ModelCheckpoint: 'Invalid value for save_top_k' and others",
    mode=OneOf("min", "max"),
    save_top_k=whole(-1),
    every_n_train_steps=whole(0, None),
    every_n_epochs=_COUNT_OR_NONE,
)
set_ranges(
    callbacks.EarlyStopping,
    "lightning.pytorch.callbacks.EarlyStopping, which takes the absolute value of min_delta",
    mode=OneOf("min", "max"),
    min_delta=_NOT_NEGATIVE,
    patience=whole(0),
    stopping_threshold=number(also=(None,)),
    divergence_threshold=number(also=(None,)),
)
set_ranges(callbacks.Timer, "lightning.pytorch.callbacks.Timer", duration=Duration())
set_ranges(
    callbacks.StochasticWeightAveraging,
    "lightning.pytorch.callbacks.StochasticWeightAveraging: 'swa_lrs should be a positive float' and others",
    swa_lrs=_POSITIVE,
    swa_epoch_start=number(at_least=0),
    annealing_epochs=whole(0),
)
set_ranges(
    callbacks.EMAWeightAveraging,
    "lightning.pytorch.callbacks.EMAWeightAveraging",
    decay=_SHARE,
    update_every_n_steps=_COUNT,
    update_starting_at_step=whole(0, None),
    update_starting_at_epoch=whole(0, None),
)
set_ranges(callbacks.RichProgressBar, "lightning.pytorch.callbacks.RichProgressBar", refresh_rate=whole(0))
set_ranges(
    callbacks.TQDMProgressBar,
    "lightning.pytorch.callbacks.TQDMProgressBar",
    refresh_rate=whole(0),
    process_position=whole(0),
)
set_ranges(
    loggers.CSVLogger,
    "lightning.pytorch.loggers.CSVLogger: a step is written where it is a multiple of flush_logs_every_n_steps",
    version=whole(0, None, any_text=True),
    flush_logs_every_n_steps=_COUNT,
)
set_ranges(
    loggers.TensorBoardLogger,
    "lightning.pytorch.loggers.TensorBoardLogger",
    version=whole(0, None, any_text=True),
)

# --- layers: torch/nn/modules, which leave most of it to the first forward -------------------------------------------

_CONVOLUTION = {
    **dict.fromkeys(("in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups"), _COUNT),
    "padding": whole(0, any_text=True),
    "output_padding": whole(0),
}
_POOLING = {
    "kernel_size": _COUNT,
    "stride": _COUNT_OR_NONE,
    "padding": whole(0),
    "dilation": _COUNT,
    "divisor_override": _COUNT_OR_NONE,
}
set_ranges(nn.Linear, "torch.nn.Linear", in_features=_COUNT, out_features=_COUNT)
set_ranges(nn.modules.conv._ConvNd, "torch.nn.Conv2d: 'groups must be a positive integer' and others", **_CONVOLUTION)
for _pooling in (nn.modules.pooling._AvgPoolNd, nn.modules.pooling._MaxPoolNd, nn.modules.pooling._MaxUnpoolNd):
    set_ranges(_pooling, "torch.nn.functional.max_pool2d: 'pad should be at most half of kernel size'", **_POOLING)
for _pooling in (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd):
    set_ranges(_pooling, "torch.nn.AdaptiveAvgPool2d", output_size=_COUNT_OR_NONE)
set_ranges(
    nn.modules.batchnorm._NormBase,
    "torch.nn.BatchNorm2d; momentum null: the mean over all batches",
    num_features=_COUNT,
    eps=_POSITIVE,
    momentum=number(at_least=0, at_most=1, also=(None,)),
)
set_ranges(nn.GroupNorm, "torch.nn.GroupNorm", num_groups=_COUNT, num_channels=_COUNT, eps=_POSITIVE)
set_ranges(nn.Flatten, "torch.nn.Flatten", start_dim=Range(whole=True), end_dim=Range(whole=True))
set_ranges(nn.Upsample, "torch.nn.Upsample", size=_COUNT_OR_NONE, scale_factor=number(above=0, also=(None,)))


def check_finite(config: Any, path: str = "") -> None:
    """Refuse NaN, infinities and integers too large for torch anywhere in a config."""
    for place, _, value in walk(config, path):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if isinstance(value, int) and abs(value) > LARGEST:
            raise UsageError(f"{place} must be an integer below 2^63, got {value}.")
        if not Bounds().allow(value):
            raise UsageError(f"{place} must be a finite number, got {value!r}.")
