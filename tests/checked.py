"""Checked configs of command lines. What Hydra composes of the groups is kept, because it takes most of the time."""

import copy
import functools
import re
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from refused import message_of

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.config.compose import allow_new_nested_keys, check_overrides
from snntrain.error import UsageError


@functools.cache
def _of_groups(choices: tuple[str, ...]) -> DictConfig:
    return compose(choices)


def composed(*overrides: str) -> DictConfig:
    """As compose; nested keys are set in a copy of the config, by the function with which Hydra sets them."""
    keys = [override for override in overrides if re.match(r"\+*\w+\.[\w.]+=", override)]
    config = copy.deepcopy(_of_groups(tuple(override for override in overrides if override not in keys)))
    check_overrides(keys)
    parsed = OverridesParser.create().parse_overrides(allow_new_nested_keys(keys))
    ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
    return config


def checked(*overrides: str) -> dict[str, Any]:
    return check(composed(*overrides))


def refusal(*overrides: str) -> str:
    """The message with which the check refuses a command line."""
    return message_of(UsageError, checked, *overrides)
