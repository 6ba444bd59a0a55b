"""Checkpoints of every form: loading, what does not match, conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hgfast
from hgfast.checkpoint import CheckpointError, convert_checkpoint, read_checkpoint, save_checkpoint
from tests.checkpoint_cases import expect_error, renamed, same_weights, saved, small
from tests.small_models import small_model

PEER_STEM = (128, 256)
NORMALISATION = {"data_preprocessor.mean": torch.ones(3, 1, 1), "data_preprocessor.std": torch.ones(3, 1, 1)}

# Family, what a file holds for a model, and the form that the loader should see.
FORMS = {
    "own": ("mmpose", lambda m: {"state_dict": renamed(m), "meta": {"hgfast": "0"}}, "mmpose"),
    "bare": ("mmpose", renamed, "mmpose"),
    "mmpose 1.x": ("mmpose", lambda m: {"meta": {}, "state_dict": {**renamed(m), **NORMALISATION}}, "mmpose"),
    "mmpose 0.x": ("mmpose", lambda m: {"state_dict": renamed(m, head="keypoint_head."), "optimizer": {}}, "mmpose0"),
    "mmpose 0.x ddp": ("mmpose", lambda m: {"state_dict": renamed(m, "module.", "keypoint_head.")}, "mmpose0"),
    "mmpose ema": (
        "mmpose",
        lambda m: {"ema_state_dict": {**renamed(m, "module."), "steps": torch.tensor(7)}},
        "mmpose",
    ),
    "mmcv ema": (
        "mmpose",
        lambda m: {"state_dict": renamed(m) | {f"ema_{k.replace('.', '_')}": v for k, v in renamed(m).items()}},
        "mmpose",
    ),
    "averaged": ("mmpose", lambda m: {"model": {**renamed(m, "module."), "n_averaged": torch.tensor(3)}}, "mmpose"),
    "compiled": ("mmpose", lambda m: {"model_state_dict": renamed(m, "_orig_mod.module.")}, "unknown"),
    "princeton": (
        "princeton",
        lambda m: {"state_dict": renamed(m, "model.module."), "optimizer": {}, "epoch": 3},
        "princeton",
    ),
    "princeton own": ("princeton", lambda m: {"state_dict": renamed(m)}, "princeton"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_loads(form: str, zipped: bool, tmp_path: Path) -> None:
    family, content, expected = FORMS[form]
    source, model = small(family, seed=1), small(family, seed=2)
    path = saved(tmp_path / "c.pth", content(source), _use_new_zipfile_serialization=zipped)
    report = hgfast.load_checkpoint(model, path)
    assert report.complete and report.form == expected and len(report.loaded) == len(model.state_dict())
    assert same_weights(model, source)


def test_loading_keeps_dtype_and_layout(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2).half().to(memory_format=torch.channels_last)
    hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", source.state_dict()))
    for a, b in zip(model.parameters(), source.parameters(), strict=True):
        assert a.dtype == torch.float16 and torch.equal(a, b.half())
        assert a.dim() != 4 or a.is_contiguous(memory_format=torch.channels_last)


def test_wrapped_models_are_looked_through(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    path = saved(tmp_path / "c.pth", nn.DataParallel(source).state_dict())
    hgfast.load_checkpoint(nn.DataParallel(model), path)
    assert same_weights(model, source)
    again = small("mmpose", 3)
    hgfast.load_checkpoint(torch.compile(again), path)
    assert same_weights(again, source)


def test_sync_batch_norm_has_the_same_names(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), nn.SyncBatchNorm.convert_sync_batchnorm(small("mmpose", 2))
    assert hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", source.state_dict())).complete
    assert same_weights(model, source)


def test_counters_may_be_missing(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    state = {name: v for name, v in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert hgfast.load_checkpoint(model, saved(tmp_path / "c.pth", state)).complete
    assert same_weights(model, source)


def test_table_of_what_does_not_match(tmp_path: Path) -> None:
    state = small("mmpose", 1).state_dict()
    del state["backbone.stem.0.conv.weight"]
    state["backbone.extra.weight"] = torch.zeros(2, 3)
    state["head.multi_final_layers.0.bias"] = torch.zeros(17)
    path = saved(tmp_path / "c.pth", {"state_dict": state})
    model = small("mmpose", 2)
    expect_error(model, path, "(names of MMPose 1.x) and HourglassPose", "1 missing, 1 unexpected, 1 of another shape")
    report = hgfast.load_checkpoint(model, path, strict=False)
    rows = [line.split(maxsplit=2) for line in str(report).splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["missing", "backbone.stem.0.conv.weight"],
        ["unexpected", "backbone.extra.weight"],
        ["shape", "head.multi_final_layers.0.bias"],
    ]
    assert [" ".join(row[2].split()) for row in rows] == ["(4, 3, 7, 7) -", "- (2, 3)", "(5,) (17,)"]
    theirs, before, after = (m.state_dict() for m in (small("mmpose", 1), small("mmpose", 2), model))
    kept = {"backbone.stem.0.conv.weight", "head.multi_final_layers.0.bias"}
    assert all(torch.equal(after[name], (before if name in kept else theirs)[name]) for name in after)


def test_other_number_of_keypoints(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", small("mmpose", 1, num_keypoints=17).state_dict())
    model = small("mmpose", 2)
    expect_error(model, path, "Only the number of keypoints differs")
    report = hgfast.load_checkpoint(model, path, strict=False)
    assert not report.complete and set(report.mismatched) == {k for k in model.state_dict() if k.startswith("head.")}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("theirs", "ours"), [("mmpose", "princeton"), ("princeton", "mmpose")])
def test_other_family(theirs: str, ours: str, strict: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", small(theirs).state_dict())
    with pytest.raises(CheckpointError, match="No name of the file is one of the model's: it is for another network"):
        hgfast.load_checkpoint(small(ours), path, strict=strict)


def test_other_number_of_stacks(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", small("princeton", 1, num_stacks=3).state_dict())
    expect_error(small("princeton", 2), path, "unexpected", "... and ", " more")


def test_integers_are_not_weights(tmp_path: Path) -> None:
    state = small("mmpose").state_dict()
    state["backbone.stem.0.bn.bias"] = torch.zeros(4, dtype=torch.int64)
    expect_error(small("mmpose", 2), saved(tmp_path / "c.pth", state), "(4,) int64")


@pytest.mark.parametrize(("family", "form"), [("mmpose", "mmpose"), ("mmpose", "mmpose0"), ("princeton", "princeton")])
def test_conversion_there_and_back(family: str, form: str, tmp_path: Path) -> None:
    source = small(family, 1, stem=PEER_STEM)
    own, theirs, back = (tmp_path / name for name in ("own.pt", "theirs.pth", "back.pt"))
    save_checkpoint(source, own)
    convert_checkpoint(own, theirs, form)
    convert_checkpoint(theirs, back)
    names = set(read_checkpoint(theirs)["state_dict"])
    prefix = {"mmpose": "", "mmpose0": "", "princeton": "model.module."}[form]
    assert names == set(renamed(source, prefix, "keypoint_head." if form == "mmpose0" else "head."))
    model = small_model(family, stem=PEER_STEM)
    for path in (own, theirs, back):
        for value in model.state_dict().values():
            value.zero_()
        hgfast.load_checkpoint(model, path)
        assert same_weights(model, source)
    assert list(read_checkpoint(back)["state_dict"]) == list(source.state_dict())


def test_princeton_form_loads_by_the_peers_code(tmp_path: Path) -> None:
    """The peer's own steps: the network inside a trainer and DataParallel, its Adam, the epoch."""
    source, trainer = small("princeton", 1), nn.Module()
    trainer.model = nn.DataParallel(small("princeton", 2))
    optimizer = torch.optim.Adam(trainer.parameters(), 1e-3)
    save_checkpoint(source, tmp_path / "c.pt", "princeton")
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    trainer.load_state_dict(content["state_dict"])
    optimizer.load_state_dict(content["optimizer"])
    assert content["epoch"] == 0 and same_weights(trainer.model.module, source)


def test_saved_files_hold_contiguous_tensors_and_meta(tmp_path: Path) -> None:
    save_checkpoint(torch.compile(small("mmpose")), tmp_path / "c.pt", meta={"name": "x"})
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    assert content["meta"] == {"name": "x"}
    assert all(value.is_contiguous() and not value.requires_grad for value in content["state_dict"].values())
    assert list(content["state_dict"]) == list(small("mmpose").state_dict())


def test_form_must_suit_the_network(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'princeton' is for networks with weights pre\.\*; got .*backbone"):
        save_checkpoint(small("mmpose"), tmp_path / "c.pt", "princeton")
    with pytest.raises(ValueError, match="form must be one of .*; got 'onnx'"):
        save_checkpoint(small("mmpose"), tmp_path / "c.pt", "onnx")
    for form in ("mmpose", "mmpose0"):
        for stem in ((4, 8), (128, 64), (64, 256)):
            with pytest.raises(
                CheckpointError, match=rf"{form!r} is for networks with stem_channels .*128, 256.*; got .{stem[0]}"
            ):
                save_checkpoint(small("mmpose", stem=stem), tmp_path / "c.pt", form)
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.to_sparse(), "must be a dense tensor of real numbers, got .* sparse_coo"),
        (lambda x: x.to("meta"), "must be a dense tensor of real numbers, got .* meta"),
        (lambda x: x.to(torch.complex64), "must be a dense tensor of real numbers, got .* complex64"),
    ],
)
def test_only_dense_weights_are_converted(change: Any, message: str, tmp_path: Path) -> None:
    state = small("mmpose").state_dict()
    last = list(state)[-1]
    path = saved(tmp_path / "c.pth", state | {last: change(state[last])})
    with pytest.raises(CheckpointError, match=f"c.pth: {last} {message}"):
        convert_checkpoint(path, tmp_path / "d.pth")
    assert not (tmp_path / "d.pth").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(3), "c.pt"), TypeError, "save_checkpoint: weights must be a Module or Mapping, got Tensor"),
        (({"a": 3}, "c.pt"), TypeError, r"save_checkpoint: weights\['a'\] must be a torch.Tensor, got int"),
        (({3: torch.zeros(1)}, "c.pt"), TypeError, "save_checkpoint: name of a weight must be a str, got int 3"),
        (({"a": torch.zeros(1, device="meta")}, "c.pt"), ValueError, r"weights\['a'\] must hold numbers"),
        (({}, 3), TypeError, "save_checkpoint: path must be a path, got int 3"),
        (({}, "c.pt", 3), TypeError, "save_checkpoint: form must be one of .*; got int 3"),
        (({}, "c.pt", "hgfast", [1]), TypeError, "save_checkpoint: meta must be a dict, got list"),
    ],
)
def test_saving_names_the_argument(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        save_checkpoint(*arguments)
