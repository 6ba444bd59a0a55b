"""Boxes of individuals in pictures, found by a detection network of torchvision's kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hgfast import _checks
from hgfast.checkpoint import CheckpointError, read_checkpoint
from hgfast.data.images import MAX_SIDE

_FIRST_MINOR = 15  # torchvision 0.15 belongs to torch 2.0, 0.16 to 2.1, and so on
DTYPES = {"labels": (torch.int64, torch.int32), "scores": (torch.float32, torch.float64, torch.float16, torch.bfloat16)}
PERSON = 1  # in the categories that torchvision's weights know


class Detector:
    """Finds boxes in pictures.

    Args:
        model: called as torchvision's detection networks are: with a list of images (3, H, W) float32, red-green-blue,
            0 to 1, it gives for each a dictionary of ``boxes`` (M, 4) x1, y1, x2, y2 in pixels, ``labels`` (M,) and
            ``scores`` (M,). It is put into evaluation mode.
        label: of what is wanted, 1 for persons in torchvision's own weights; None takes all labels.
        min_score: what is less sure is left out.
        most: boxes a picture, the surest first; None for all.
        device: where it runs; default: where its parameters are.

    Raises:
        TypeError, ValueError: an argument of another kind, or out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        label: int | None = PERSON,
        min_score: float = 0.5,
        most: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        where = "Detector"
        _checks.instance(where, "model", model, nn.Module)
        self.label = None if label is None else _checks.integer(where, "label", label)
        self.min_score = _checks.number(where, "min_score", min_score)
        self.most = None if most is None else _checks.integer(where, "most", most, 1)
        parameter = next(model.parameters(), torch.empty(0))
        self.device = parameter.device if device is None else _checks.device(where, "device", device)
        self.model = model.eval().to(self.device)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the boxes alone that :meth:`detect` gives, as :meth:`hgfast.Predictor.video` asks for them."""
        return self.detect(image)[0]

    @torch.inference_mode()
    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Detect boxes (P, 4) float32 within a picture, the surest first, and their scores (P,) float32.

        Args:
            image: uint8 (H, W, 3), blue-green-red.

        Raises:
            TypeError, ValueError: no such picture, or a model that gives something else.
        """
        _checks.picture("Detector", "image", image)
        if max(image.shape) > MAX_SIDE:
            raise ValueError(f"Detector: image must have at most {MAX_SIDE} pixels a side, got shape {image.shape}")
        pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        boxes, labels, scores = _parts(self.model([pixels.to(self.device).float() / 255]))
        limits = boxes.new_tensor([image.shape[1], image.shape[0]] * 2)
        boxes = boxes.clamp(min=0).minimum(limits)
        wanted = (scores >= self.min_score) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
        if self.label is not None:
            wanted &= labels == self.label
        order = scores[wanted].argsort(descending=True, stable=True)[: self.most]
        return boxes[wanted][order].float().cpu().numpy(), scores[wanted][order].float().cpu().numpy()


def _parts(result: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, labels and scores of the one picture.

    Raises:
        TypeError, ValueError: it is something else.
    """
    found = result[0] if isinstance(result, Sequence) and len(result) == 1 else None
    if not isinstance(found, Mapping) or not {"boxes", "labels", "scores"} <= found.keys():
        raise TypeError(
            "Detector: model must give a list of a dictionary of boxes, labels and scores for each image, "
            f"got {_checks.describe(result)}"
        )
    _checks.tensor("Detector", "boxes of the model", found["boxes"], ndim=2)
    count = len(found["boxes"])
    _checks.shape("Detector", "boxes of the model", found["boxes"], (count, 4))
    for name in ("labels", "scores"):
        _checks.tensor("Detector", f"{name} of the model", found[name], dtypes=DTYPES[name])
        _checks.shape("Detector", f"{name} of the model", found[name], (count,), "one for each box")
    return found["boxes"], found["labels"], found["scores"]


def torchvision_detector(name: str, weights: str | Path | None = None, **options: Any) -> Detector:
    """Build a detection network of torchvision's.

    Args:
        name: as ``torchvision.models.get_model`` takes it, e.g. "fasterrcnn_resnet50_fpn_v2".
        weights: a file with its state dict, of any number of classes; None: torchvision's own weights, which it
            downloads.
        **options: of :class:`Detector`.

    Raises:
        ImportError: torchvision is not installed, or is not the one for this torch.
        TypeError, ValueError: no network of that name that finds boxes, weights of another one; an option of another
            kind.
        FileNotFoundError: no such file.
    """
    _checks.instance("torchvision_detector", "name", name, str)
    models = _torchvision().models
    if name not in models.list_models(module=models.detection):
        known = ", ".join(models.list_models(module=models.detection))
        raise ValueError(f"torchvision_detector: name must be one of {known}; got {name!r}")
    if weights is None:
        return Detector(models.get_model(name, weights="DEFAULT"), **options)
    content = read_checkpoint(weights)
    state = content.get("state_dict", content.get("model", content)) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{weights}: holds no state dict of a detection network")
    model = models.get_model(name, weights=None, weights_backbone=None, **_classes(state))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{weights}: is not for {name}: {error}") from None
    return Detector(model, **options)


def _classes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the number of classes, where the last layers of R-CNNs tell it."""
    last = state.get("roi_heads.box_predictor.cls_score.weight")
    return {} if last is None else {"num_classes": len(last)}


def _torchvision() -> Any:
    release = torch.__version__.partition("+")[0]
    major, minor, *_ = (int(part) for part in release.split(".") if part.isdigit())
    fitting = f"'torchvision==0.{minor + _FIRST_MINOR}.*' 'torch=={release}'" if major == 2 else "torchvision"
    how = f"pip install {fitting}, from where this torch {torch.__version__} came from"
    try:
        return importlib.import_module("torchvision")
    except ImportError:
        raise ImportError(f"the detector needs torchvision ({how})") from None
    except RuntimeError as error:  # its operators are built for one torch
        raise ImportError(f"the torchvision that is installed does not fit ({error}): {how}") from None
