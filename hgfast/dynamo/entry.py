"""The backend that torch.compile finds under the name "hgfast"."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from hgfast.dynamo import other
from hgfast.dynamo.plain import plain
from hgfast.dynamo.reasons import reason_against
from hgfast.dynamo.run import CHECKS, Runner, Unfit

log = logging.getLogger("hgfast")
WHERE = "torch.compile(backend='hgfast')"


def backend(
    graph_module: fx.GraphModule, example_inputs: Sequence[Any], *, options: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """Return what runs a graph of torch.compile's.

    Inference on float32 tensors (on CUDA of the half types too) with convolutions among its calls runs as
    :func:`hgfast.freeze` lowers it; that is where no gradient is asked for and every BatchNorm normalises by its
    statistics. Everything else, training above all, is inductor's, or eager's where inductor finds no compiler. A graph
    that cannot be lowered, or whose first results are not eager's, is left to them with a warning of the log "hgfast".

    Args:
        graph_module: torch's functions, parameters among its inputs.
        example_inputs: of the first call.
        options: {"check_weights": "numbers"}, the default, compares the parameters with a copy of them at each call, so
            that every change of theirs is seen; {"check_weights": "versions"} sees those by torch's own functions
            (load_state_dict, optimizers, writing in place), not those through `.data` or numpy, and takes no time.

    Raises:
        ValueError: an option that there is not.
    """
    checks_weights = _checks_weights(options or {})
    known = plain(graph_module)
    reason = reason_against(known, example_inputs)
    if not reason:
        runner = Runner(graph_module, known, checks_weights)
        try:
            runner.prepare(example_inputs)
            return runner
        except Unfit as error:
            reason = str(error)
        except Exception as error:  # whatever it is, the graph runs as well without
            log.warning("a graph of torch.compile's is not lowered: %s: %s", type(error).__name__, _line(error))
            reason = "its lowering failed"
    log.debug("a graph of torch.compile's is left to others: %s", reason)
    return other.by_another(graph_module, example_inputs)


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _checks_weights(options: dict[str, Any]) -> str:
    for name in options:
        if name != "check_weights":
            raise ValueError(f"{WHERE}: options must be of check_weights alone, got {name!r}")
    found = options.get("check_weights", CHECKS[0])
    if found not in CHECKS:
        raise ValueError(f"{WHERE}: check_weights must be one of {', '.join(CHECKS)}, got {found!r}")
    return str(found)
