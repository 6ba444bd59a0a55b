"""Persons as samples of a data set, and batches of them in a reproducible order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from hgfast import _checks
from hgfast._opencv import cv2
from hgfast.codecs.affine import apply_affine
from hgfast.data.augment import Augmentation, Change, half_body
from hgfast.data.cache import ImageCache
from hgfast.data.images import MAX_SIDE, crop, person_matrix, reduced_origin, reduction
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.person import Person

Key = tuple[int, int]  # (epoch, person number)


class PoseDataset(Dataset[dict[str, Any]]):
    """Crops of persons with their keypoints.

    What a sample looks like depends only on the seed, the epoch and the person's number: not on how many samples came
    before, nor on the number of loader processes. So training can stop and go on anywhere with the same data.

    Args:
        persons: what to show.
        table: the keypoints of these persons.
        input_size: (width, height) of the crops.
        padding: how much larger than the person's box a crop is.
        augment: random changes; None for evaluation. Where the table has no mirror pairs, nothing is mirrored.
        seed: of the random changes.
        udp: see :func:`hgfast.data.images.person_matrix`.
        fast_decode: decode large JPEG files at 1/2, 1/4 or 1/8 of their size where the crop has fewer pixels anyway.
            Such a crop differs from one of the whole picture as smooth downsampling does from picking pixels.
        cache_mb: keep up to this many MiB of decoded pictures (per loader process).
        cache_dir: folder for decoded pictures, shared by all processes, see :class:`hgfast.data.cache.FileCache`.

    Raises:
        TypeError, ValueError: arguments of other types, sizes or ranges, persons with other keypoints.
    """

    def __init__(
        self,
        persons: Sequence[Person],
        table: KeypointSet,
        input_size: tuple[int, int],
        padding: float = 1.25,
        augment: Augmentation | None = None,
        seed: int = 0,
        udp: bool = False,
        fast_decode: bool = False,
        cache_mb: int = 0,
        cache_dir: str = "",
    ) -> None:
        _checks.instance("", "table", table, KeypointSet)
        if augment is not None:
            _checks.instance("", "augment", augment, Augmentation)
        self.persons = _checked(persons, table)
        self.table = table
        self.input_size = _checks.size("", "input_size", input_size, maximum=MAX_SIDE)
        self.padding = _checks.number("", "padding", padding, above=0, maximum=1e6)
        if augment is not None and not table.mirrors:
            augment = replace(augment, flip_prob=0.0)
        self.augment = augment
        self.seed = _checks.integer("", "seed", seed, 0)
        self.udp = _checks.flag("", "udp", udp)
        self.fast_decode = _checks.flag("", "fast_decode", fast_decode)
        self._images = ImageCache(cache_mb, cache_dir)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, key: int | Key) -> dict[str, Any]:
        """Make the sample of ``(epoch, number)``, or of ``number`` in epoch 0; see :meth:`sample` for its fields.

        Raises:
            FileNotFoundError, ValueError: the picture is missing or broken.
        """
        epoch, number = key if isinstance(key, tuple) else (0, key)
        person = self.persons[number]
        center, size = person.center, person.size * np.float32(self.padding)
        change = Change()
        if self.augment is not None:
            rng = np.random.default_rng([self.seed, epoch, number])
            if rng.random() < self.augment.half_body_prob:
                center, size = half_body(person.keypoints, person.visible, self.table, rng) or (center, size)
            change = self.augment.draw(rng)
        return self.sample(number, center, size, change)

    def sample(self, number: int, center: np.ndarray, size: np.ndarray, change: Change) -> dict[str, Any]:
        """Cut out a crop of person ``number`` with a given change.

        Args:
            number: index into ``persons``.
            center: (2,) centre of the box.
            size: (2,) its size, padding included.
            change: mirroring, scale, rotation, shift, colour.

        Returns:
            ``image`` uint8 (H, W, 3) blue-green-red; ``keypoints`` float32 (K, 2) in pixels of the crop; ``visible``
            float32 (K,); ``inverse`` float32 (2, 3), from crop to picture; ``number``.
        """
        person = self.persons[number]
        center = center + np.asarray(change.shift, np.float32) * size
        size = size * change.scale
        matrix = person_matrix(center, size, self.input_size, change.rotation, change.flip, self.udp)
        reduce = reduction(person.image, matrix) if self.fast_decode else 1
        image = self._images.read(person.image, reduce)
        keypoints, visible = apply_affine(matrix, person.keypoints), person.visible
        if change.flip:
            order = list(self.table.flip_indices)
            keypoints, visible = keypoints[order], visible[order]
        origin = reduced_origin(person.image, reduce) if reduce > 1 else (0, 0)
        shown = crop(image, matrix, self.input_size, reduce, origin)
        return {
            "image": shown if change.colour is None else change.colour.apply(shown),
            "keypoints": keypoints.astype(np.float32),
            "visible": visible.astype(np.float32),
            "inverse": cv2.invertAffineTransform(matrix).astype(np.float32),
            "number": number,
        }


def _checked(persons: Any, table: KeypointSet) -> list[Person]:
    if not isinstance(persons, (list, tuple)):
        raise TypeError(f"persons must be a sequence of Person, got {_checks.describe(persons)}")
    shapes = {"keypoints": (table.count, 2), "visible": (table.count,), "center": (2,), "size": (2,)}
    for number, person in enumerate(persons):
        _checks.instance("", f"persons[{number}]", person, Person)
        for field, shape in shapes.items():
            if np.shape(getattr(person, field)) != shape:
                raise ValueError(
                    f"persons: expected {table.count} keypoints ({table.name}); persons[{number}].{field} must have "
                    f"shape {shape}, got {np.shape(getattr(person, field))}"
                )
    return list(persons)


class EpochSampler(Sampler[list[Key]]):
    """Batches of ``(epoch, number)`` in an order that depends only on the seed and the epoch.

    Args:
        count: number of samples.
        batch_size: samples a batch; the last batch of an epoch may be smaller.
        shuffle: a new random order every epoch.
        seed: of that order.
        rank: of the processes that share the epoch, this one's number; sample by sample they take turns.
        world: how many processes there are. To give all the same number of batches of the same sizes, the first
            samples of the epoch come again at its end where the count does not divide.

    Attributes:
        epoch: set before iterating.
        start: number of batches of the epoch to leave out (they were done before training stopped).
    """

    def __init__(
        self, count: int, batch_size: int, shuffle: bool = False, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.count = _checks.integer("", "count", count, 0)
        self.batch_size = _checks.integer("", "batch_size", batch_size, 1)
        self.shuffle = _checks.flag("", "shuffle", shuffle)
        self.seed = _checks.integer("", "seed", seed, 0)
        self.world = _checks.integer("", "world", world, 1)
        self.rank = _checks.integer("", "rank", rank, 0, world - 1)
        self.share = -(-count // world)
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return max(0, -(-self.share // self.batch_size) - self.start)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        mine = np.resize(order, self.share * self.world)[self.rank :: self.world]
        for first in range(self.start * self.batch_size, self.share, self.batch_size):
            yield [(self.epoch, int(number)) for number in mine[first : first + self.batch_size]]
