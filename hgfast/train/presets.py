"""Ready-made configurations, by name: recipes of MMPose and of princeton-vl, one of two stacks, and two small ones."""

from __future__ import annotations

from typing import Any

from hgfast import _checks
from hgfast.train.config import Config, ConfigError, apply

_COCO = {
    "keypoints": "coco",
    "format": "coco",
    "train_annotations": "data/coco/annotations/person_keypoints_train2017.json",
    "train_images": "data/coco/train2017",
    "val_annotations": "data/coco/annotations/person_keypoints_val2017.json",
    "val_images": "data/coco/val2017",
    # the boxes of MMPose's tables; "" evaluates with the annotated ones
    "val_detections": "data/coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json",
    "batch_size": 32,
    "monitor": "AP",
    "augment": {"scale": 0.5, "rotation": 80.0, "shift_prob": 0.3, "half_body_prob": 0.3},
}
_WHOLEBODY = {
    "format": "coco",
    "train_annotations": "data/coco/annotations/coco_wholebody_train_v1.0.json",
    "train_images": "data/coco/train2017",
    "val_annotations": "data/coco/annotations/coco_wholebody_val_v1.0.json",
    "val_images": "data/coco/val2017",
    "batch_size": 32,
}
# princeton-vl: images in 0..1, one Gaussian of sigma 1 per joint, one step of the rate at 100,000 iterations. There the
# change of colours comes with every mirror image and never without; here half of the samples get it, mirrored or not.
_NEWELL = {
    "codec": "newell",
    "sigma": 1.0,
    "mean": [0.0, 0.0, 0.0],
    "std": [255.0, 255.0, 255.0],
    "augment": {
        "distribution": "uniform",
        "scale": 0.25,
        "rotation": 30.0,
        "rotate_prob": 1.0,
        "colour_prob": 0.5,
    },
    "batch_size": 16,
    "lr": 1e-3,
    "warmup_steps": 0,
    "milestone_unit": "step",
    "milestones": [100_000],
    "gamma": 0.2,
    "epochs": 200,
    "val_interval": 5,
}

# a small hourglass that two CPU cores train in minutes: for `hgfast demo`, and to fit MMPose's five test pictures
_SMALL = {
    "model_options": {
        "downsample_times": 3,
        "stem_channels": [32, 64],
        "stage_channels": [64, 64, 96, 96],
        "stage_blocks": [1, 1, 1, 1],
        "feat_channel": 64,
    },
    "init": "kaiming",
    "input_size": [128, 128],
    "sigma": 1.5,
    "workers": 0,
}

# somebody's own labelled pictures, few of them: the small network, subpixel decoding, whole pictures in memory
_OWN = _SMALL | {
    "keypoints": "auto",
    "format": "deeplabcut",
    "train_annotations": "data/own",
    "train_images": "",
    "val_annotations": "",
    "val_images": "",
    "val_share": 0.1,
    "test_share": 0.1,
    "codec": "udp_exact",
    "sigma": 2.0,
    "input_size": [256, 192],
    "batch_size": 8,
    "lr": 2e-3,
    "warmup_steps": 20,
    "ema": 0.99,
    "cache_mb": 512,
    "epochs": 80,
    "milestones": [56, 72],
    "gamma": 0.3,
    "val_interval": 5,
    "checkpoint_interval": 5,
}

PRESETS: dict[str, dict[str, Any]] = {
    "hourglass52-mpii-256": {},
    "hourglass52-mpii-384": {"input_size": [384, 384], "batch_size": 32},
    # nobody's published recipe: MMPose has no configuration with two stacks, these settings are hourglass52's
    "hourglass104-mpii-256": {"model": "hourglass104", "batch_size": 32},
    "hourglass52-coco-256": _COCO,
    "hourglass52-coco-384": _COCO | {"input_size": [384, 384], "sigma": 3.0},
    "hourglass52-face-256": _WHOLEBODY
    | {
        "keypoints": "face",
        "epochs": 60,
        "lr": 2e-3,
        "milestones": [40, 55],
        "augment": {"rotation": 60.0, "scale": 0.25, "shift_prob": 0.3},
        "monitor": "NME",
        "val_interval": 1,
    },
    "hourglass52-hand-256": _WHOLEBODY
    | {"keypoints": "hand", "augment": {"rotation": 180.0, "scale": 0.3, "shift_prob": 0.3}, "monitor": "AUC"},
    "hg1-mpii": _NEWELL | {"model": "hg1"},
    "hg2-mpii": _NEWELL | {"model": "hg2"},
    "hg8-mpii": _NEWELL | {"model": "hg8"},
    "demo": _SMALL
    | {
        "batch_size": 8,
        "lr": 2e-3,
        "warmup_steps": 20,
        "augment": {"scale": 0.25, "rotation": 30.0},
        "val_interval": 1,
    },
    "own": _OWN,
    "openfield-mouse": _OWN
    | {
        "train_annotations": "data/openfield-mouse",
        "keypoints": {
            "name": "openfield-mouse",
            "names": ["snout", "leftear", "rightear", "tailbase"],
            "skeleton": [
                ["snout", "leftear"],
                ["snout", "rightear"],
                ["leftear", "tailbase"],
                ["rightear", "tailbase"],
            ],
        },
        "augment": {"scale": 0.25, "rotation": 90.0, "shift_prob": 0.3},
    },
    "mirror-mouse": _OWN
    | {
        "format": "lightningpose",
        "train_annotations": "data/mirror-mouse",
        "input_size": [192, 192],
        "augment": {"scale": 0.15, "rotation": 15.0, "shift_prob": 0.3, "shift": 0.05},
    },
    "mpii-tiny": _SMALL
    | {
        "train_annotations": "data/mpii/test_mpii.json",
        "train_images": "data/mpii",
        "val_annotations": "data/mpii/test_mpii.json",
        "val_images": "data/mpii",
        "augment": {"flip_prob": 0.0, "scale": 0.0, "rotation": 0.0},
        "flip_test": False,
        "cache_mb": 64,
        "batch_size": 5,
        "lr": 2e-3,
        "warmup_steps": 10,
        "input_size": [192, 192],
        "sigma": 2.0,
        "epochs": 40,
        "milestones": [28, 36],
        "val_interval": 20,
        "checkpoint_interval": 20,
    },
}


def preset(name: str) -> Config:
    """Return a configuration by its name.

    Raises:
        TypeError: no text.
        ConfigError: there is none of that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"preset: name must be a str, got {_checks.describe(name)}")
    if name not in PRESETS:
        raise ConfigError(f"preset: name must be one of {', '.join(PRESETS)}, got {name!r:.80}")
    output = {"output": f"runs/{name}"}
    return apply(Config(), output | PRESETS[name])
