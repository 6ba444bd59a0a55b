"""The state dict of a frozen network: folded weights, out of its graph and back into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hgfast import _checks as checks
from hgfast.frozen.graph import Graph
from hgfast.frozen.tensors import named_tensors


class GraphState(nn.Module):
    """A module whose state dict are the tensors of its graph, which are neither parameters nor buffers.

    Attributes:
        graph: the graph.
    """

    graph: Graph

    def _prepare(self) -> None:
        """Do what is to be done where the graph's tensors have other values."""
        raise NotImplementedError

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """torch's hook of `state_dict`."""
        self.graph.check_file()
        destination.update({f"{prefix}{name}": tensor for name, tensor in named_tensors(self.graph).items()})

    @torch.no_grad()
    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """torch's hook of `load_state_dict`."""
        self.graph.check_file()
        own = {f"{prefix}{name}": tensor for name, tensor in named_tensors(self.graph).items()}
        missing_keys += [name for name in own if name not in state_dict]
        if strict:
            unexpected_keys += [name for name in state_dict if name.startswith(prefix) and name not in own]
        for name in own.keys() & state_dict.keys():
            given, expected = state_dict[name], tuple(own[name].shape)
            if not isinstance(given, Tensor) or given.shape != expected:
                error_msgs.append(f"{name} must have shape {expected}, got {checks.describe(given)}")
            else:
                own[name].copy_(given)
        self._prepare()
