"""From a command line to a checked config."""

from snntrain.config.compose import CONF, compose
from snntrain.config.schema import Config

__all__ = ["CONF", "Config", "compose"]
