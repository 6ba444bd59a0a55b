"""Networks in folders and repositories as huggingface_hub has them: ``config.json`` beside ``model.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hgfast import _checks
from hgfast._extras import require
from hgfast.checkpoint import load_checkpoint
from hgfast.predict import Predictor
from hgfast.train.build import choose_device, make_codec, make_model, predictor_options
from hgfast.train.config import Config, ConfigError, apply, to_dict
from hgfast.train.loaded import load_network

__all__ = ["PoseModel"]

require("safetensors.torch", "hgfast.hub", "hub")
_Mixin: Any = require("huggingface_hub", "hgfast.hub", "hub").PyTorchModelHubMixin

SETTINGS = (  # those of hgfast.train.Config that a network is used by; the rest, paths among it, stays at home
    "model", "model_options", "implementation", "keypoints", "format", "boxes", "codec", "sigma", "input_size", "mean",
    "std", "padding", "flip_test", "amp", "freeze", "val_batch_size",
)  # fmt: skip


class PoseModel(nn.Module, _Mixin, library_name="hgfast", tags=["keypoint-detection"]):  # type: ignore[misc, call-arg]
    """A network with all that is needed to use it: sizes, codec, keypoints, normalisation, padding.

    ``save_pretrained(folder)`` writes it, ``from_pretrained(folder)`` reads it; with the name of a repository in place
    of the folder the latter downloads it, and ``push_to_hub(name)`` uploads (huggingface_hub's ModelHubMixin).

    Args:
        settings: those of SETTINGS that differ from the defaults of :class:`hgfast.train.Config`.
        metrics: what was measured, for whoever reads ``config.json``.

    Raises:
        TypeError, ConfigError: settings or metrics of another kind, or a setting that is none of SETTINGS.

    Example:
        >>> PoseModel.from_checkpoint("runs/a/best.pt").save_pretrained("mice")  # doctest: +SKIP
        >>> predictor = PoseModel.from_pretrained("mice").predictor()  # doctest: +SKIP
    """

    def __init__(self, settings: dict[str, Any], metrics: dict[str, float] | None = None) -> None:
        super().__init__()
        _checks.instance("PoseModel", "settings", settings, Mapping)
        _checks.instance("PoseModel", "metrics", metrics, Mapping, type(None))
        unknown = sorted(settings.keys() - {*SETTINGS})
        if unknown:
            raise ConfigError(f"PoseModel: settings must be among {', '.join(SETTINGS)}; got {unknown[0]!r:.80}")
        self.trained_as, self.metrics = apply(Config(), dict(settings)), dict(metrics or {})
        self.network = make_model(self.trained_as)

    @classmethod
    def from_checkpoint(cls, path: str | Path, preset: str | None = None) -> PoseModel:
        """Return the network of a file, as :meth:`hgfast.Predictor.from_checkpoint` finds it; raises as that does."""
        config, network, metrics = load_network(path, preset)
        settings = {name: value for name, value in to_dict(config).items() if name in SETTINGS}
        model = cls(settings=settings, metrics=metrics)
        model.network = network
        return model.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> PoseModel:
        """Return the network of a folder, in evaluation mode, or of a repository, which huggingface_hub downloads.

        Args:
            pretrained_model_name_or_path: a folder as ``save_pretrained`` writes it, or the name of a repository.
            **options: of huggingface_hub's ModelHubMixin.from_pretrained.

        Raises:
            TypeError: an argument of another kind.
            ConfigError: ``config.json`` is missing, damaged, or holds what :class:`PoseModel` refuses.
            CheckpointError: ``model.safetensors`` is damaged, or holds weights of another network.
        """
        given = pretrained_model_name_or_path
        path = _checks.path("PoseModel.from_pretrained", "pretrained_model_name_or_path", given)
        if path.is_dir():
            _check_config(path / "config.json")
        return super().from_pretrained(given, **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> PoseModel:
        """Do as the mixin does, with errors that name the file that the settings came from."""
        try:
            return super()._from_pretrained(model_id=model_id, **options)
        except (TypeError, ConfigError) as error:
            raise ConfigError(f"{Path(model_id, 'config.json')}: {error}") from None

    @classmethod
    def _load_as_safetensor(cls, model: PoseModel, model_file: str, map_location: str, strict: bool) -> PoseModel:
        """Load all of the weights, or raise an error that names the file."""
        load_checkpoint(model.network, model_file)
        return model.to(map_location).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute heatmaps of each stack for normalised images (N, 3, H, W), as the network gives them."""
        return self.network(images)

    def predictor(self, **options: Any) -> Predictor:
        """Make a predictor, from pictures and boxes to keypoints.

        Args:
            **options: of :class:`hgfast.Predictor`, in place of what the settings say.

        Raises:
            TypeError, ValueError: an option that there is not, or that does not fit.
        """
        options = {"device": choose_device("auto"), **predictor_options(self.trained_as), **options}
        return Predictor(self.network, make_codec(self.trained_as), **options)


def _check_config(file: Path) -> None:
    """Raise ConfigError where the file is not what PoseModel writes."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file") from None
    except (ValueError, RecursionError) as error:  # no JSON, no text, or nested too deeply
        raise ConfigError(f"{file}: not a JSON file ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise ConfigError(f"{file}: must hold an object with the object 'settings', got {_checks.describe(content)}")
