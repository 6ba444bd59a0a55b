"""The process that does the work on the device: reads one request a line, answers one or more lines each.

    request   {"job": "bench", "args": {...}}
    answers   @@hgfast {"partial": {...}}          any number, kept even if the process dies later
              @@hgfast {"done": {...}}             or {"error": "...", "fatal": true|false}

After a fatal error (the CUDA context is gone) the process ends itself; client.py starts a new one for what is left.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

MARK = "@@hgfast "


def answer(kind: str, value: Any, **more: Any) -> None:
    """One line back to the parent."""
    print(f"\n{MARK}{json.dumps({kind: value, **more})}", flush=True)


def context_is_lost(device: str) -> bool:
    """Whether CUDA refuses every further call, as after an illegal memory access."""
    if device != "cuda":
        return False
    import torch

    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").item()
    except Exception:  # RuntimeError, or AssertionError from a torch without CUDA
        return True
    return False


def serve(device: str) -> None:
    """Answer requests until the input ends."""
    from benchmarks.device.jobs import JOBS

    answer("ready", True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer("done", JOBS[request["job"]](device, lambda value: answer("partial", value), **request["args"]))
        except Exception as error:
            traceback.print_exc()
            fatal = context_is_lost(device)
            answer("error", f"{type(error).__name__}: {error}"[:600], fatal=fatal)
            if fatal:
                sys.exit(1)


if __name__ == "__main__":
    serve(sys.argv[1])
