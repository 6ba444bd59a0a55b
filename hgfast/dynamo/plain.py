"""hgfast's own operators in a graph of torch.compile's, as the torch functions that a lowering knows."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

OPS = torch.ops.hgfast


def plain(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Return the same graph with torch's functions in the place of the operators of fused modules in evaluation."""
    graph, env = fx.Graph(), dict[fx.Node, Any]()
    for node in graph_module.graph.nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), env.__getitem__)  # type: ignore[misc]
        if node.target is OPS.conv2d.default:
            side = node.args[1].meta["example_value"].shape[-1]
            x, weight, bias, stride = args
            env[node] = graph.call_function(F.conv2d, (x, weight, bias, stride, side // 2))
        elif node.target is OPS.max_pool.default:
            env[node] = graph.call_function(F.max_pool2d, (args[0], 2))
        elif node.target is OPS.upsample_add.default:
            env[node] = _upsample_add(graph, *args)
        elif node.target is OPS.batch_norm_act_apply.default and _gives_no_mask(node):
            env[node] = _norm(graph, *args)
        elif node.target is operator.getitem and node.args[0] in env and _is_norm(env[node.args[0]], node.args[0]):
            env[node] = env[node.args[0]]
        else:
            env[node] = graph.node_copy(node, env.__getitem__)
    return fx.GraphModule(graph_module, graph)


def _is_norm(now: fx.Node, then: fx.Node) -> bool:
    """Whether a call of two results has become one of the first alone."""
    return then.target is OPS.batch_norm_act_apply.default and now.target is not then.target


def _gives_no_mask(node: fx.Node) -> bool:
    return all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)


def _norm(graph: fx.Graph, x: Any, mean: Any, var: Any, weight: Any, bias: Any, residual: Any, *rest: Any) -> fx.Node:
    relu, eps, _keep_mask = rest
    y = graph.call_function(F.batch_norm, (x, mean, var, weight, bias, False, 0.0, eps))
    y = y if residual is None else graph.call_function(operator.add, (y, residual))
    return graph.call_function(F.relu, (y,)) if relu else y


def _upsample_add(graph: fx.Graph, skip: fx.Node, low: fx.Node) -> fx.Node:
    shape = graph.call_function(getattr, (skip, "shape"))
    size = graph.call_function(operator.getitem, (shape, slice(-2, None, None)))
    return graph.call_function(operator.add, (skip, graph.call_function(F.interpolate, (low,), {"size": size})))
