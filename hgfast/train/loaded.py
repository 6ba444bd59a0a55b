"""Networks out of checkpoints, with the settings that they were trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hgfast.checkpoint import read_checkpoint
from hgfast.checkpoint.load import load_content
from hgfast.models.common import PoseNetwork
from hgfast.train.build import make_model
from hgfast.train.config import Config
from hgfast.train.presets import preset
from hgfast.train.state import stored_config


def load_network(path: str | Path, preset_name: str | None = None) -> tuple[Config, PoseNetwork, dict[str, Any]]:
    """Network of a checkpoint, its configuration, and the checkpoint's measured accuracy (empty where unknown).

    Args:
        path: a checkpoint of hgfast, MMPose or princeton-vl.
        preset_name: configuration of a checkpoint that brings none.

    Raises:
        TypeError: not a path, or no name.
        FileNotFoundError, ValueError: no such file, not a checkpoint, one of another network, or one without a
            configuration where there is no preset.
    """
    content = read_checkpoint(path)
    config = preset(preset_name) if preset_name else stored_config(content, path)
    model = make_model(config)
    load_content(model, content, path)
    meta = content.get("meta") if isinstance(content, dict) else None
    return config, model, meta.get("metrics", {}) if isinstance(meta, dict) else {}
