"""Which modules are alike in all that a proof can see, so that one proof holds for all of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

SETTINGS = (bool, int, float, str, bytes, type, type(None))
OF_TORCH = set(vars(nn.Module()))  # parameters and children are looked at apart


def structure(module: nn.Module) -> Any:
    """Return a key that is equal for modules of the same classes, settings and shapes; None if there is none."""
    key: list[Any] = []
    for name, part in module.named_modules():
        settings = _settings({name: value for name, value in vars(part).items() if name not in OF_TORCH})
        if settings is None:
            return None
        members = (*part._parameters.items(), *part._buffers.items())
        tensors = [(member, None if tensor is None else _shape(tensor)) for member, tensor in members]
        children = [(n, child is None) for n, child in part._modules.items()]
        key.append((name, type(part), type(part).forward, settings, tuple(tensors), tuple(children)))
    return tuple(key)


def _settings(attributes: dict[str, Any]) -> tuple[Any, ...] | None:
    plain = {name: _frozen(value) for name, value in attributes.items()}
    return None if None in plain.values() else tuple(plain.items())


def _frozen(value: Any) -> Any:
    """Return a setting as something to compare, with its type; None if it is no setting."""
    if isinstance(value, SETTINGS):
        return type(value), value
    if isinstance(value, (tuple, list)):
        items = [_frozen(item) for item in value]
        return None if None in items else (type(value), *items)
    return None


def _shape(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.device.type == "meta", tensor.is_floating_point()
