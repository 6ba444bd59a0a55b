"""Pictures and videos, read and written; crops; the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hgfast import data
from hgfast.data.video import VideoWriter, frame_rate, read_frames
from tests.fuzz.cases import Arg, Case, call, target
from tests.fuzz.damage import any_bytes, damaged
from tests.fuzz.draw import Draw
from tests.fuzz.kinds import Choice, Flag, Int, Ints, Number
from tests.fuzz.kinds import Path as PathKind
from tests.fuzz.targets.annotations import REFUSALS
from tests.fuzz.targets.viz import Picture, picture
from tests.fuzz.tensor_kinds import Array, Tensor

FORMS = (".jpg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".jp2", ".hdr", ".sr", ".pbm", ".exr")


def encoded(draw: Draw, form: str) -> bytes:
    image = np.ascontiguousarray(picture(draw, least=2))
    image = image.astype(np.float32) if form in (".hdr", ".exr") else image[..., 0] if form == ".pbm" else image
    try:
        return bytes(cv2.imencode(form, image)[1])
    except cv2.error:  # OpenCV was built without this form
        return bytes(cv2.imencode(".png", image.astype(np.uint8))[1])


@target("file.picture", 250, "file")
def read_picture(draw: Draw) -> Case:
    form = draw.one(FORMS)
    content = encoded(draw, form)
    path = draw.folder / f"picture{form}"
    spoiled = draw.one(("", "damaged bytes", "damaged bytes", "damaged bytes", "another file"))
    if spoiled:
        content = damaged(content, draw) if spoiled[0] == "d" else any_bytes(draw)
    path.write_bytes(content)
    reduce = draw.one((1, 1, 2, 4, 8))
    good = spoiled == "" and form in (".jpg", ".png", ".bmp", ".webp")
    blame = None if good else (path.name,)
    return Case(
        lambda: data.read_image(path, reduce), blame=blame, spoiled=spoiled or form, either=True, errors=REFUSALS,
        inputs=[path], outputs=64 << 20 if spoiled else 0,
    )  # fmt: skip


@target("data.read_image", 100)
def read_image(draw: Draw) -> Case:
    path = draw.folder / "picture.png"
    path.write_bytes(encoded(draw, ".png"))
    arguments = {"path": Arg(path, PathKind()), "reduce": Arg(draw.one((1, 2, 4, 8)), Int(1, 8))}
    return call(draw, data.read_image, arguments)


@target("data.person_matrix")
def person_matrix(draw: Draw) -> Case:
    udp = draw.chance(0.5)
    arguments = {
        "center": Arg(draw.array(2), Array((0,))),
        "size": Arg(draw.array(2, low=1), Array((0,))),
        "out": Arg((draw.int(2, 40), draw.int(2, 40)), Ints(2, 2 if udp else 1)),
        "rotation": Arg(draw.float(-180, 180), Number()),
        "flip": Arg(draw.chance(0.5), Flag()),
        "udp": Arg(udp, Flag()),
    }
    return call(draw, data.person_matrix, arguments, lambda m: None if m.shape == (2, 3) else f"{m.shape}")


@target("data.crop")
def crop(draw: Draw) -> Case:
    out = draw.int(2, 40), draw.int(2, 40)
    matrix = data.person_matrix(draw.array(2), draw.array(2, low=1), out)
    arguments = {
        "image": Arg(picture(draw), Picture()),
        "matrix": Arg(matrix, Array((0, 1))),
        "out": Arg(out, Ints(2, 1, 1 << 15)),
        "reduce": Arg(draw.one((1, 2, 4, 8)), Int(1, 8)),
    }
    return call(draw, data.crop, arguments, lambda c: None if c.shape == (*out[::-1], 3) else f"{c.shape}")


@target("data.network_input")
def network_input(draw: Draw) -> Case:
    n, h, w = draw.one((0, 1, 3)), draw.one((1, 5, 8)), draw.one((1, 5, 8))
    images = torch.randint(0, 256, (n, h, w, 3), dtype=torch.uint8)
    kind = Tensor((3,), dtypes=(torch.uint8,), alone=True)
    three = Array((0,), finite=True)
    arguments = {
        "images": Arg(images, kind),
        "mean": Arg((123.0, 116.0, 103.0), three),
        "std": Arg((58.0, 57.0, 56.0), three),
    }

    def check(result: torch.Tensor) -> str | None:
        means, stds = (torch.tensor(arguments[name].value).view(3, 1, 1) for name in ("mean", "std"))
        wanted = (images.flip(3).permute(0, 3, 1, 2).float() - means) / stds
        return None if torch.allclose(result, wanted, atol=1e-5) else "differs"

    return call(draw, data.network_input, arguments, check)


def written_video(draw: Draw, suffix: str) -> Path:
    path = draw.folder / f"video{suffix}"
    form = cv2.VideoWriter.fourcc(*("MJPG" if suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), form, 25.0, (32, 24))
    for _ in range(draw.one((1, 3))):
        writer.write(draw.numpy.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    writer.release()
    return path


@target("file.video", 60, "file")
def video(draw: Draw) -> Case:
    path = written_video(draw, draw.one((".mp4", ".avi", ".mov", ".mkv")))
    content = path.read_bytes() if path.exists() else b""
    spoiled = draw.one(("damaged bytes", "damaged bytes", "another file", "script"))
    if spoiled == "script":
        content = b"ffconcat version 1.0\nfile /etc/passwd\n"
    else:
        content = damaged(content, draw) if spoiled == "damaged bytes" else any_bytes(draw)
    path.write_bytes(content)

    def read() -> Any:
        return frame_rate(path), sum(frame.nbytes for frame in read_frames(path))

    blame = (path.name,)
    return Case(read, blame=blame, spoiled=spoiled, either=True, errors=REFUSALS, inputs=[path], outputs=64 << 20)


@target("data.video", 40)
def good_video(draw: Draw) -> Case:
    """What VideoWriter writes is read again, and its arguments are checked."""
    frames = [draw.numpy.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(draw.one((1, 4)))]

    def write(path: Any, rate: Any, frame: Any) -> int:
        with VideoWriter(path, rate) as writer:
            for one in [*frames[1:], frame]:
                writer.write(one)
        return sum(1 for _ in read_frames(path))

    arguments = {
        "path": Arg(draw.folder / "out.mp4", PathKind()),
        "rate": Arg(draw.one((25, 29.97, 1.0, 66.667)), Number(above=0)),
        "frame": Arg(frames[0], Picture()),
    }
    return call(draw, write, arguments, lambda count: None if count == len(frames) else f"{count} frames")


@target("data.tables", 60)
def tables(draw: Draw) -> Case:
    """keypoint_set, by its name."""
    return call(draw, data.keypoint_set, {"name": Arg(draw.one(list(data.KEYPOINT_SETS)), Choice())})


@target("data.Augmentation", 100)
def augmentation(draw: Draw) -> Case:
    share = Number(0, high=1)
    arguments = {
        name: Arg(draw.float(0, 1), share)
        for name in ("flip_prob", "rotate_prob", "shift_prob", "half_body_prob", "colour_prob", "scale")
    }
    arguments |= {
        "distribution": Arg(draw.one(("normal", "uniform")), Choice()),
        "rotation": Arg(draw.float(0, 90), Number()),
        "shift": Arg(draw.float(0, 1), Number()),
    }
    return call(draw, lambda **a: data.Augmentation(**a).draw(draw.numpy), arguments)


@target("data.PoseDataset", 100)
def dataset(draw: Draw) -> Case:
    """The data set's own arguments, and its samples."""
    path = draw.folder / "picture.jpg"
    path.write_bytes(encoded(draw, ".jpg"))
    k = data.MPII.count
    person = data.Person(
        image=path, center=np.float32([20, 20]), size=np.float32([30, 40]),
        keypoints=draw.array(k, 2).astype(np.float32), visible=np.ones(k, np.float32),
    )  # fmt: skip
    arguments = {
        "input_size": Arg((32, 48), Ints(2, 1)),
        "padding": Arg(1.25, Number(above=0)),
        "seed": Arg(draw.int(0, 9), Int(0)),
        "udp": Arg(draw.chance(0.5), Flag()),
        "fast_decode": Arg(draw.chance(0.5), Flag()),
        "cache_mb": Arg(draw.one((0, 1)), Int(0)),
    }
    augment = data.Augmentation() if draw.chance(0.5) else None

    def first(**arguments: Any) -> Any:
        return data.PoseDataset([person], data.MPII, augment=augment, **arguments)[0]

    return call(draw, first, arguments)
