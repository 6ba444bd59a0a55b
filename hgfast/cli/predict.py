"""``hgfast predict``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hgfast.cli._inputs import BoxSource, find_inputs, is_video
from hgfast.cli._shared import add_checkpoint, add_device, add_freeze, add_set, changed, load_network
from hgfast.data.video import VideoWriter, frame_rate, read_frames
from hgfast.files import atomic_write, write_text
from hgfast.predict import Predictor, Seen
from hgfast.progress import progress_bar
from hgfast.results import instances
from hgfast.train.build import choose_device, make_codec, make_predictor
from hgfast.viz import draw_people

_EPILOG = """\
The output folder gets, for every input, NAME.json in MMPose's form (for each person keypoints, keypoint_scores, bbox,
bbox_score; pixels count from 0; for a video a list of {frame_id, instances}) and NAME_keypoints.png or .mp4.

--boxes takes {"a.jpg": [[x1, y1, x2, y2], ...], "clip.mp4": ...}; a video has the same boxes in all frames, or a list
of such lists, one for each frame.

examples:
  hgfast predict best.pt person.jpg                       one person who fills the picture
  hgfast predict best.pt street.jpg --box 40,60,300,420 --box 310,55,500,400
  hgfast predict best.pt clip.mp4 --box 40,60,300,420
  hgfast predict best.pt images/ --annotations mpii_val.json
  hgfast predict hourglass52_mpii_256x256-ae358435_20200812.pth --preset hourglass52-mpii-256 images/ --boxes b.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.epilog = _EPILOG
    add_checkpoint(parser)
    parser.add_argument("inputs", nargs="+", metavar="input", help="pictures, videos, folders of these")
    parser.add_argument("--box", action="append", metavar="X1,Y1,X2,Y2", help="a person's box, for a single input")
    parser.add_argument("--boxes", metavar="FILE", help="JSON file with the boxes of every input")
    parser.add_argument("--annotations", help="MPII JSON file with the persons' centres and scales")
    parser.add_argument("--output", default="hgfast-predictions", help="folder (default: %(default)s)")
    parser.add_argument("--no-draw", action="store_true", help="write no pictures and videos")
    parser.add_argument("--min-score", type=float, default=0.2, help="do not draw joints below (default: %(default)s)")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored picture")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_freeze(parser)
    add_set(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Predicts, draws and writes."""
    paths = find_inputs(options.inputs)
    boxes = BoxSource(options, paths)
    config, model, _ = load_network(options.checkpoint, options.preset)
    if options.no_flip:
        options.set.append("flip_test=false")
    config = changed(config, options)
    predictor = make_predictor(config, model, make_codec(config), choose_device(config.device))
    output = Path(options.output)

    def draw(seen: Seen) -> np.ndarray:
        keypoints, scores = seen.prediction
        return draw_people(seen.image, keypoints, predictor.table, scores, options.min_score)

    drawn = None if options.no_draw else draw
    pictures = [path for path in paths if not is_video(path)]
    count = _pictures(predictor, pictures, boxes, output, drawn, options.quiet)
    for path in (path for path in paths if is_video(path)):
        count += _video(predictor, path, boxes, output, drawn, options.quiet)
    print(f"{count} persons in {len(paths)} inputs: {output}/*.json" + ("" if options.no_draw else ", *_keypoints.*"))


Draw = Callable[[Seen], np.ndarray] | None


def _pictures(predictor: Predictor, paths: list[Path], boxes: BoxSource, output: Path, draw: Draw, quiet: bool) -> int:
    count = 0
    pairs = ((path, boxes.of_picture(path)) for path in progress_bar("pictures", quiet)(paths))
    for path, seen in zip(paths, predictor.stream(pairs), strict=True):
        write_text(output / f"{path.stem}.json", json.dumps(_instances(seen)) + "\n")
        if draw:
            with atomic_write(output / f"{path.stem}_keypoints.png") as file:
                file.write(cv2.imencode(".png", draw(seen))[1].tobytes())
        count += len(seen.boxes)
    return count


def _video(predictor: Predictor, path: Path, boxes: BoxSource, output: Path, draw: Draw, quiet: bool) -> int:
    frames: list[dict[str, Any]] = []
    pairs = zip(progress_bar(path.name, quiet)(read_frames(path)), boxes.of_frames(path), strict=False)
    with ExitStack() as stack:
        target = output / f"{path.stem}_keypoints.mp4"
        writer = stack.enter_context(VideoWriter(target, frame_rate(path))) if draw else None
        for number, seen in enumerate(predictor.stream(pairs)):
            frames.append({"frame_id": number, "instances": _instances(seen)})
            if draw and writer:
                writer.write(draw(seen))
    write_text(output / f"{path.stem}.json", json.dumps(frames) + "\n")
    return sum(len(frame["instances"]) for frame in frames)


def _instances(seen: Seen) -> list[dict[str, Any]]:
    return instances(seen.boxes, *seen.prediction)
