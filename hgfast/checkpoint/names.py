"""The forms of checkpoints: how the weights are named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hgfast.checkpoint.archive import CheckpointError

__all__ = ["FORMATS", "Naming", "form_of"]

# Put around a network, or a part of it, by DataParallel and DDP, by princeton-vl's Trainer, by torch.compile.
_WRAPPERS = ("module.", "model.", "_orig_mod.")
_WRAPPED_PARTS = re.compile(r"\.(?:module|_orig_mod)(?=\.)")
_DEPTH = 8  # parts that a prefix may have
# Names of copies that were averaged over the training, or that taught: not the ones to load where there are others.
_COPIES = re.compile(r"ema|teacher|averaged|shadow|target")
_LAST_LAYER = re.compile(r"head\.multi_final_layers\.(\d{1,3})\.")


@dataclass(frozen=True)
class Form:
    """A form of checkpoint.

    Attributes:
        title: What to call it in a message.
        family: First name of a weight of the networks it is for; None for any network.
        renames: Start of a name of hgfast's, and what it is in this form.
        prefix: Put in front of every name.
    """

    title: str
    family: str | None
    renames: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    def rename(self, name: str) -> str:
        """Turn a name of hgfast's into one of this form."""
        for ours, theirs in self.renames:
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        return self.prefix + name


FORMATS = {
    "hgfast": Form("hgfast", None),
    "mmpose": Form("MMPose 1.x", "backbone."),
    "mmpose0": Form("MMPose 0.x", "backbone.", renames=(("head.", "keypoint_head."),)),
    "princeton": Form("princeton-vl", "pre.", prefix="model.module."),
}


class Naming:
    """Brings the names of a file to those of a network.

    Attributes:
        matches: How many names of the file become names of the network.
    """

    def __init__(self, names: Collection[str], wanted: Collection[str]) -> None:
        """Find what stands in front of the network's names in the file's.

        Args:
            names: Of the file.
            wanted: Of the network; empty if it is not known, and one of FORMATS'.
        """
        self.wanted = wanted
        numbers = [int(found[1]) for name in wanted if (found := _LAST_LAYER.match(name))]
        self._last_layer = f"head.multi_final_layers.{max(numbers)}." if numbers else None
        self._counts = Counter(name[: -len(end)] for name in names for end in _ends(name) if self._is_ours(end))
        self.matches = max(self._counts.values(), default=0)
        self._prefix, self._added = "", ""
        if not self.matches and wanted:
            self._match_part(names)
        self._copies: list[str] = []

    def _match_part(self, names: Collection[str]) -> None:
        """Find the file's one part of the network, if it holds no more. One name may match by chance, most do not."""
        parts = {rest: f"{first}." for first, _, rest in (name.partition(".") for name in self.wanted)}
        counts = Counter((name[: -len(end)], parts[end]) for name in names for end in _ends(name) if end in parts)
        for (prefix, part), count in counts.most_common(1):
            if 2 * count > len(names):
                self._prefix, self._added, self.matches = prefix, part, count

    def choose(self) -> None:
        """Take one of the copies of the network that the file holds.

        Raises:
            CheckpointError: If none is the one to take.
        """
        if self._added or not self.matches:
            return
        best = [prefix for prefix, count in self._counts.items() if count == self.matches]
        originals = [prefix for prefix in best if not _COPIES.search(prefix)] or best
        if len(originals) > 1:
            raise CheckpointError(f"holds the network {len(originals)} times, under {sorted(originals)[:5]}; keep one")
        self._prefix = originals[0]
        self._copies = [one for one in self._counts if one != self._prefix and (one in best or _COPIES.search(one))]

    def rename(self, name: str) -> str:
        """Return the network's name for a name of the file."""
        if name in self.wanted:
            return name
        rest = name.removeprefix(self._prefix)
        while not self.matches and rest.startswith(_WRAPPERS):
            rest = rest.partition(".")[2]
        return self._added + (rest if rest in self.wanted else self._plain(rest))

    def is_copy(self, name: str) -> bool:
        """Whether a name is of another copy of the network than the one that is taken."""
        copies = (one for one in self._copies if name.startswith(one))
        return any(self._is_ours(name.removeprefix(one)) for one in copies)

    def _is_ours(self, name: str) -> bool:
        if self.wanted:
            return name in self.wanted or self._plain(name) in self.wanted
        return name.startswith(tuple(form.family for form in FORMATS.values() if form.family))

    def _plain(self, name: str) -> str:
        """Without what wraps parts of the network, the head as hgfast calls it."""
        name = _WRAPPED_PARTS.sub("", name)
        for form in FORMATS.values():
            for ours, theirs in form.renames:
                if name.startswith(theirs):
                    name = ours + name.removeprefix(theirs)
        if self._last_layer and name.startswith("head.final_layer."):
            return self._last_layer + name.removeprefix("head.final_layer.")
        return name


def _ends(name: str) -> Iterator[str]:
    """Yield the name, and what is left of it without its first part, its first two parts, ..."""
    parts = name.split(".", _DEPTH)
    return (end for start in range(len(parts)) if (end := ".".join(parts[start:])))


def form_of(state: Collection[str]) -> str:
    """Key of FORMATS of a file with these names, or "unknown"."""
    bare = [name.removeprefix("module.") for name in state]
    if any(name.startswith("keypoint_head.") for name in bare):
        return "mmpose0"
    if any(name.startswith("model.module.") for name in state):
        return "princeton"
    families = {form.family: key for key, form in FORMATS.items() if form.family and not form.renames}
    return next((key for family, key in families.items() if any(n.startswith(family) for n in bare)), "unknown")
