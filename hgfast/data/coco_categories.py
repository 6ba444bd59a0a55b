"""The keypoints that the categories of a COCO file describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hgfast import _checks
from hgfast.data.fields import AnnotationError, as_object, read_json
from hgfast.data.keypoint_set import KeypointSet
from hgfast.data.keypoints import KEYPOINT_SETS


def coco_keypoints(annotations: str | Path) -> KeypointSet:
    """Read the keypoints of a COCO file: what its ``categories`` have in ``keypoints`` and ``skeleton``.

    The table of :data:`hgfast.data.KEYPOINT_SETS` with the same names in the same order is taken where there is one.
    Otherwise mirror pairs are found by the names, see :func:`hgfast.data.sides.pairs_by_name`, and the sigmas are 0.1
    where the category has no ``sigmas`` (which COCO's own form does not know).

    Args:
        annotations: the file.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: broken JSON, no category with names of keypoints, categories whose keypoints differ, a name
            that comes twice, limbs between joints that do not exist.
        TypeError: not a path.
    """
    path = _checks.path("", "annotations", annotations)
    content = read_json(path)
    categories = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(categories, list):
        raise AnnotationError(f"{path}: field 'categories' is missing or not a list")
    places = [(as_object(entry, f"{path}: categories[{n}]"), n) for n, entry in enumerate(categories)]
    tables = [_table(entry, f"{path}: categories[{n}]") for entry, n in places if entry.get("keypoints")]
    if not tables:
        raise AnnotationError(f"{path}: field 'categories': none has names of 'keypoints'; give them in a table")
    different = [table.name for table in tables if table.names != tables[0].names]
    if different:
        raise AnnotationError(
            f"{path}: field 'categories': {tables[0].name!r} and {different[0]!r} have different keypoints; a network "
            "is trained for one set of them"
        )
    return tables[0]


def _table(entry: dict[str, Any], where: str) -> KeypointSet:
    table: dict[str, Any] = {"name": entry.get("name", "own"), "names": entry["keypoints"]}
    skeleton = entry.get("skeleton")
    if isinstance(skeleton, list) and skeleton:
        table["skeleton"] = _from_zero(skeleton)
    if entry.get("sigmas"):
        table["sigmas"] = entry["sigmas"]
    try:
        own = KeypointSet.from_table(table, where)
    except (TypeError, ValueError) as error:
        raise AnnotationError(str(error)) from None
    return next((known for known in KEYPOINT_SETS.values() if known.names == own.names), own)


def _from_zero(skeleton: list[Any]) -> list[Any]:
    """Limbs counted from 0: COCO counts joints from 1, and a file in which a 0 occurs counts from 0 already."""
    links = [link for link in skeleton if isinstance(link, list)]
    first = 0 if any(joint == 0 for link in links for joint in link) else 1
    return [
        [joint - first if isinstance(joint, int) else joint for joint in link] if isinstance(link, list) else link
        for link in skeleton
    ]
