"""Real photographs: the command line trains a small hourglass until it knows the five pictures, then draws them."""

import json

import cv2
import numpy as np

from hgfast.cli import main
from hgfast.data import load_mpii
from hgfast.train.log import read_log


def test_five_pictures_are_learnt_and_drawn(mpii_root, tmp_path, capsys):
    run = tmp_path / "run"
    settings = [f"{part}_annotations={mpii_root / 'test_mpii.json'}" for part in ("train", "val")]
    settings += [f"{part}_images={mpii_root}" for part in ("train", "val")] + ["input_size=[128, 128]"]
    command = ["train", "--preset", "mpii-tiny", "--quiet", "--output", str(run)]
    assert main([*command, *(word for setting in settings for word in ("--set", setting))]) == 0
    assert float(read_log(run / "log.csv")[-1]["PCKh"]) == 100
    persons = load_mpii(mpii_root / "test_mpii.json", mpii_root)
    pictures = [str(person.image) for person in persons]
    command = ["predict", str(run / "best.pt"), *pictures, "--annotations", str(mpii_root / "test_mpii.json")]
    assert main([*command, "--output", str(tmp_path / "drawn")]) == 0
    for person in persons:
        (record,) = json.loads((tmp_path / "drawn" / f"{person.image.stem}.json").read_text())
        found = np.array(record["keypoints"])
        distance = np.linalg.norm(found - person.keypoints, axis=1)[person.visible > 0]
        assert distance.max() < 0.5 * person.head_size
        drawn = cv2.imread(str(tmp_path / "drawn" / f"{person.image.stem}_keypoints.png"))
        difference = np.abs(drawn.astype(int) - cv2.imread(str(person.image))).max(axis=2) > 30
        ys, xs = np.nonzero(difference)
        near = person.size.max()
        assert difference.any() and np.hypot(xs - person.center[0], ys - person.center[1]).max() < near
