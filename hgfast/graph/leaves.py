"""Which modules are nodes of a captured graph, and which are looked into."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from hgfast import reference
from hgfast.nn import BasicBlock, Bottleneck, ConvModule, UpsampleAdd
from hgfast.nn._contiguous import contiguous_result
from hgfast.nn._structure import CALL_HOOKS
from hgfast.nn.pool import MaxPool


class RepeatAdd(nn.Module):
    """What an exact UpsampleAdd computes."""

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        """skip plus low, each pixel of it twice in both directions."""
        return skip + F.interpolate(low, scale_factor=2.0, mode="nearest")


PLAIN: dict[type, type] = {
    BasicBlock: reference.BasicBlock,
    Bottleneck: reference.Bottleneck,
    ConvModule: reference.ConvModule,
    MaxPool: reference.MaxPool,
}
"""Classes of fused modules, and those that compute the same by torch's own functions."""
POOLS = (nn.MaxPool2d, reference.MaxPool)
TENSOR_MODULES = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm, nn.SyncBatchNorm),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Tanh, nn.ELU),
    *(nn.PReLU, nn.Mish, nn.Softplus, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Upsample, nn.UpsamplingNearest2d),
    *(nn.UpsamplingBilinear2d, nn.PixelShuffle, nn.Dropout, nn.Dropout2d, nn.Linear, nn.Flatten, nn.ZeroPad2d),
)
TENSOR_FUNCTIONS = {
    *(F.relu, torch.relu, F.relu6, F.leaky_relu, F.silu, F.gelu, torch.sigmoid, F.sigmoid, torch.tanh, F.hardswish),
    *(F.conv2d, torch.conv2d, F.batch_norm, F.interpolate, torch.cat, torch.concat, torch.add, F.dropout, F.pad),
    *(F.conv_transpose2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.linear, torch.stack, torch.flatten, F.softmax),
}
TENSOR_METHODS = {
    *("relu", "relu_", "sigmoid", "sigmoid_", "tanh", "add", "add_", "mul", "mul_", "contiguous", "clone", "view"),
    *(
        "reshape",
        "permute",
        "transpose",
        "flatten",
        "float",
        "half",
        "double",
        "mean",
        "unsqueeze",
        "squeeze",
        "detach",
    ),
}


def is_leaf(module: nn.Module) -> bool:
    """Whether a call of the module is one node: torch's own layers and scripted modules."""
    if isinstance(module, torch.jit.ScriptModule) or type(module) in POOLS:
        return True
    if isinstance(module, nn.Sequential):
        return False
    home = type(module).__module__
    return home.startswith(("torch.nn.", "torch.ao.")) or home == "hgfast.nn.batch_norm_act"


def plain_class(module: nn.Module) -> type:
    """Return the class of a module's double in a trace: the plain one of a fused module, else its own."""
    if type(module) is UpsampleAdd:
        return RepeatAdd if module.exact else reference.UpsampleAdd
    own = getattr(module, "_hgfast_plain", type(module))  # of what `fuse` has given another forward pass
    return PLAIN.get(own, own)


def other_hooks(module: nn.Module) -> str | None:
    """Return what is called beside the module's forward, or in its place."""
    if "forward" in vars(module):
        return "its forward is set on the instance"
    for name in CALL_HOOKS:
        if any(hook is not contiguous_result for hook in getattr(module, name).values()):
            return f"it has {name.strip('_').replace('_', ' ')}"
    return None


def gives_tensor(root: nn.Module, node: fx.Node) -> bool:
    """Whether the value of a node is one tensor for certain."""
    if node.op in ("placeholder", "get_attr"):
        return True
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        return type(module) in TENSOR_MODULES or (type(module) in POOLS and not module.return_indices)
    if node.op == "call_method":
        return node.target in TENSOR_METHODS
    return node.target in TENSOR_FUNCTIONS
