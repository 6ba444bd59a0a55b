"""Kernels that are wrong or fail: how they are told, and whose fault an error is."""

from __future__ import annotations

import json
import logging

import torch

from hgfast import _switches
from hgfast._kernel_table import identity_of
from hgfast.frozen.choices import Choices, Needs, label

log = logging.getLogger("hgfast")


def report(choices: Choices, needs: Needs, name: str, why: str, device: torch.device) -> None:
    """Tell once what a report of the mistake must say."""
    identity = identity_of(choices.lib, device) if choices.table is None else choices.table.identity
    settings = {**identity, "switches": ",".join(sorted(_switches.disabled))}
    log.warning(
        "the kernel %r is not used for %s, another one takes its place: %s. Please report this with what "
        "`hgfast info --report` prints. %s",
        *(label(needs), name, why, json.dumps(settings)),
    )


def wait(device: torch.device) -> None:
    """Bring out the errors of what was launched before, which would else be taken for those of the next kernel.

    Raises:
        RuntimeError: there was one; CUDA cannot be used any more.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
