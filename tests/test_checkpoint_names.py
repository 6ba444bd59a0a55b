"""Weights of the network under other names: in other sections, behind other prefixes, a part of it alone, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hgfast
from hgfast.checkpoint import convert_checkpoint, read_checkpoint
from tests.checkpoint_cases import expect_error, renamed, same_weights, saved, small

PREFIXES = ["net.", "model.", "backbone.", "module.net.model.", "student.module._orig_mod.", "a.b.c.d."]
SECTIONS = ["ema", "params", "params_ema", "module", "net", "weights", "state"]


def other() -> dict[str, Tensor]:
    """The same network with other weights."""
    return small("mmpose", 5).state_dict()


def behind(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("family", ["mmpose", "princeton"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix(prefix: str, family: str, tmp_path: Path) -> None:
    source, model = small(family, 1), small(family, 2)
    assert hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", renamed(source, prefix))).complete
    assert same_weights(model, source)


@pytest.mark.parametrize("section", SECTIONS)
def test_any_section(section: str, tmp_path: Path) -> None:
    """Beside an optimizer's state, which holds tensors too."""
    source, model = small("mmpose", 1), small("mmpose", 2)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}
    path = saved(tmp_path / "c.pth", {"optimizer": optimizer, section: renamed(source), "epoch": 3})
    assert hgfast.load_checkpoint(model, path).complete and same_weights(model, source)


def test_sections_in_sections_and_wrapped_parts(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    state = {
        name.replace("backbone.", "backbone.module.").replace("head.", "head._orig_mod."): value
        for name, value in source.state_dict().items()
    }
    assert hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", {"model": {"state_dict": state}})).complete
    assert same_weights(model, source)


COPIES = {
    "sections": lambda state: {"params": state, "params_ema": other()},
    "teacher": lambda state: behind("teacher.", other()) | behind("student.", state),
    "average": lambda state: state | behind("ema_model.", other()),
    "part of an average": lambda state: state | behind("ema.", dict(list(other().items())[:50])),
}


@pytest.mark.parametrize("case", COPIES)
def test_of_copies_the_network_itself(case: str, tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    report = hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", COPIES[case](source.state_dict())))
    assert report.complete and same_weights(model, source)


def test_two_networks_of_one_kind(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", behind("a.", other()) | behind("b.", other()))
    expect_error(small("mmpose"), path, r"c.pth: holds the network 2 times, under ['a.', 'b.']")


def test_a_backbone_alone(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    path = saved(tmp_path / "c.pth", behind("module.", source.backbone.state_dict()))
    expect_error(model, path, "4 missing, 0 unexpected", "it lacks weights of head: strict=False loads it")
    report = hgfast.load_checkpoint(model, path, strict=False)
    assert set(report.missing) == {f"head.{name}" for name in before}
    assert same_weights(model.backbone, source.backbone)
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


def test_a_model_of_the_backbone_alone(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2).backbone
    report = hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", source.state_dict()), strict=False)
    assert not report.missing and len(report.unexpected) == 4 and same_weights(model, source.backbone)


@pytest.mark.parametrize("head", ["head.", "keypoint_head."])
@pytest.mark.parametrize("stacks", [1, 2])
def test_heads_with_one_final_layer(stacks: int, head: str, tmp_path: Path) -> None:
    """They read the last stack."""
    source, model = small("mmpose", 1, num_stacks=stacks), small("mmpose", 2, num_stacks=stacks)
    state = {
        f"{head}final_layer.{name}": value for name, value in source.head.multi_final_layers[-1].named_parameters()
    }
    path = saved(tmp_path / "c.pth", behind("backbone.", source.backbone.state_dict()) | state)
    report = hgfast.load_checkpoint(model, path, strict=stacks == 1)
    assert same_weights(model.head.multi_final_layers[-1], source.head.multi_final_layers[-1])
    assert set(report.missing) == (
        {f"head.multi_final_layers.0.{n}" for n in ("weight", "bias")} if stacks > 1 else set()
    )


def test_detectors(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    state = behind("backbone.", source.backbone.state_dict()) | {"bbox_head.conv.weight": torch.zeros(3)}
    path = saved(tmp_path / "c.pth", {"state_dict": state})
    expect_error(model, path, "4 missing, 1 unexpected", "strict=False loads what matches")
    report = hgfast.load_checkpoint(model, path, strict=False)
    assert list(report.unexpected) == ["bbox_head.conv.weight"] and same_weights(model.backbone, source.backbone)


def test_numpy_weights(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    state: dict[str, Any] = {n: v.numpy() if v.dim() else np.int64(v) for n, v in source.state_dict().items()}
    first = next(iter(state))
    state[first] = np.asfortranarray(state[first])
    assert hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", {"state_dict": state})).complete
    assert same_weights(model, source)
    path = saved(tmp_path / "c.pth", {"state_dict": state | {first: np.array(["a", "b"])}})
    expect_error(small("mmpose"), path, f"{first} must be a tensor, got numpy")


def test_other_widths_are_no_other_names(tmp_path: Path) -> None:
    wider = hgfast.models.HourglassPose(7, 2, 2, (16, 12, 20), (1, 2, 1), 24, (8, 16)).state_dict()
    state = {name: value for name, value in wider.items() if value.dim()}
    path = saved(tmp_path / "c.pth", state)
    expect_error(small("mmpose"), path, "The names are the model's, the shapes are not")


def test_conversion_finds_them_too(tmp_path: Path) -> None:
    source = small("princeton", 1)
    path = saved(tmp_path / "c.pth", {"optimizer": {0: torch.zeros(3)}, "ema": renamed(source, "net.module.")})
    convert_checkpoint(path, tmp_path / "own.pt")
    assert list(read_checkpoint(tmp_path / "own.pt")["state_dict"]) == list(source.state_dict())


def test_other_modules_load_by_their_names(tmp_path: Path) -> None:
    """Short names too: what is like one of the model's behind another name is not dropped silently."""
    model = nn.Linear(2, 2)
    path = saved(tmp_path / "c.pth", nn.Linear(2, 2).state_dict() | {"other.weight": torch.zeros(2, 2)})
    expect_error(model, path, "1 unexpected")
