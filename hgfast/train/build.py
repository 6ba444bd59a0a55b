"""The parts of a run made from its configuration: network, codec, data sets, predictor."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hgfast import _checks, codecs, models
from hgfast._extras import require
from hgfast.data import PoseDataset
from hgfast.data.split import PARTS
from hgfast.models.common import PoseNetwork, check_size
from hgfast.predict import Predictor
from hgfast.train.config import Config, ConfigError
from hgfast.train.measures import measures_of, require_packages
from hgfast.train.parts import persons_of_part


def make_model(config: Config) -> PoseNetwork:
    """Build the network with new weights, drawn from ``config.seed``.

    Raises:
        TypeError: no Config.
        ConfigError: the network does not have these options, or cannot take images of ``config.input_size``.
    """
    _checks.instance("make_model", "config", config, Config)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in config.model_options.items()}
    table = config.table
    with torch.random.fork_rng(devices=[]):  # of all devices it would warn where there are several
        torch.default_generator.manual_seed(config.seed)
        try:
            model = models.build(
                config.model, num_keypoints=table.count, implementation=config.implementation, **options
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model {config.model!r}: {error}") from None
        try:
            check_size(f"input_size (of model {config.model!r})", config.input_size, *model.size_rule)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if config.init != "peer":
            if not isinstance(model, models.HourglassPose):
                raise ConfigError(f"init: model {config.model!r} has only 'peer', got {config.init!r}")
            model.reset_parameters(config.init)
    return model


def place(model: PoseNetwork, device: torch.device) -> PoseNetwork:
    """Move the network to a device; a fused one on a GPU has its weights in channels_last.

    cuDNN would bring them there in every step. On the CPU contiguous weights are as fast, and what flattens parameters
    (LBFGS, pruning) or writes them to files (safetensors) takes no others.
    """
    _checks.instance("place", "model", model, PoseNetwork)
    _checks.instance("place", "device", device, torch.device)
    model = model.to(device)
    if device.type == "cuda" and model.memory_format is not None:
        model = model.to(memory_format=model.memory_format)  # type: ignore[call-overload]  # torch's stub lacks it
    return model


def make_codec(config: Config) -> codecs.HeatmapCodec:
    """Build the codec of the configuration; the networks have stride 4. Raises TypeError for no Config."""
    _checks.instance("make_codec", "config", config, Config)
    width, height = config.input_size
    heatmap_size = (-(-width // 4), -(-height // 4))
    return codecs.build(config.codec, config.input_size, heatmap_size, config.sigma)


def make_dataset(config: Config, part: str, augment: bool = True) -> PoseDataset:
    """Build the data set of part "train" (with augmentation), "val" or "test".

    Args:
        config: what :func:`hgfast.train.own.complete` gives.
        part: which one.
        augment: False for the pictures of "train" as they are.

    Raises:
        TypeError, ValueError: another kind of argument, annotations that cannot be used.
        OSError: a file that cannot be read.
    """
    _checks.instance("make_dataset", "config", config, Config)
    _checks.choice("make_dataset", "part", part, PARTS)
    train = part == "train" and _checks.flag("make_dataset", "augment", augment)
    return PoseDataset(
        persons_of_part(config, part),
        config.table,
        config.input_size,
        config.crop_padding,
        augment=config.augment if train else None,
        seed=config.seed,
        udp=make_codec(config).udp,
        fast_decode=train and config.fast_decode,  # measures are taken on MMPose's very crops
        cache_mb=config.cache_mb,
        cache_dir=config.cache_dir,
    )


def make_predictor(
    config: Config, model: nn.Module, codec: codecs.HeatmapCodec, device: torch.device | str
) -> Predictor:
    """Build a predictor with the configuration's preprocessing and flip test; raises as :class:`Predictor`."""
    _checks.instance("make_predictor", "config", config, Config)
    return Predictor(model, codec, device=device, **predictor_options(config))


def predictor_options(config: Config) -> dict[str, Any]:
    """Return what the configuration says of a :class:`hgfast.predict.Predictor`'s options."""
    return {
        "keypoints": config.table,
        "flip_test": config.flip_test,
        "batch_size": config.val_batch_size,
        "padding": config.crop_padding,
        "mean": config.mean,
        "std": config.std,
        "amp": config.amp,
        "freeze": config.freeze,
        "whole_pictures": config.boxes == "picture",
    }


def check_beforehand(config: Config) -> None:
    """Notices before the work what would end it: an unknown measure, missing packages.

    Raises:
        TypeError: no Config.
        ConfigError: the keypoints have no such measure.
        ImportError: nothing could be measured without the package, or it was asked for.
    """
    _checks.instance("check_beforehand", "config", config, Config)
    if config.monitor not in (known := measures_of(config.table)):
        expected = ", ".join(known)
        raise ConfigError(f"monitor: expected one of {expected} for {config.table.name}, got {config.monitor!r}")
    require_packages(config.table)
    if config.tensorboard:
        require("tensorboard", "tensorboard=true")


def choose_device(device: str) -> torch.device:
    """Choose the device of a name; "auto" is the GPU where there is one.

    Raises:
        TypeError: no name.
        ConfigError: it cannot be used.
    """
    _checks.instance("", "device", device, str, torch.device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return _checks.device("", "device", device)
    except ValueError as error:
        raise ConfigError(str(error)) from None
