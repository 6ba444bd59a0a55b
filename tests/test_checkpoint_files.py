"""Checkpoint files that are damaged, empty, not what their name says, or carry more than weights."""

from __future__ import annotations

import hashlib
import pathlib
import pickle
import re
import struct
import sys
import tracemalloc
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hgfast
from hgfast.checkpoint import CheckpointError, convert_checkpoint, read_checkpoint
from tests.checkpoint_cases import expect_error, renamed, same_weights, saved, small
from tests.small_models import small_model


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no weights"),
        ({"epoch": 3}, "holds no weights; expected a state dict or one of"),
        ({"state_dict": {}}, "holds no weights"),
        ({"module.a": torch.zeros(1), "a": torch.zeros(1)}, "two entries for a"),
    ],
)
def test_files_without_weights(content: Any, message: str, tmp_path: Path) -> None:
    expect_error(small("mmpose"), saved(tmp_path / "c.pth", content), message)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    model = small("mmpose")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        hgfast.load_checkpoint(model, tmp_path / "none.pth")
    expect_error(model, tmp_path, "not a file")
    for zipped in (True, False):
        whole = saved(tmp_path / "whole.pth", model.state_dict(), _use_new_zipfile_serialization=zipped).read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) - 20):
            path = tmp_path / "cut.pth"
            path.write_bytes(whole[:size])
            expect_error(model, path, "cut.pth: not a readable checkpoint")
    path.write_bytes(b"<!DOCTYPE html><html>404</html>")
    expect_error(model, path, "not a readable checkpoint")


@pytest.mark.parametrize("name", ["hg-{digits}_20200812.pth", "hg-mpii-{digits}_20200812.pth"])
def test_hash_in_the_name(name: str, tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    path = saved(tmp_path / "c.pth", source.state_dict())
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    wrong = path.rename(tmp_path / name.format(digits="0123abcd"))
    expect_error(model, wrong, f"SHA-256 starts with {digits}, its name says 0123abcd")
    hgfast.load_checkpoint(small("mmpose", 2), wrong, check_hash=False)
    hgfast.load_checkpoint(model, wrong.rename(tmp_path / name.format(digits=digits)))
    assert same_weights(model, source)


@pytest.mark.parametrize("name", ["run-20240131.pth", "step-00012000.pth", "model-7ac7f3d0.pth", "a-deadbeef-b.pt"])
def test_other_digits_in_the_name_are_no_hash(name: str, tmp_path: Path) -> None:
    model = small("mmpose")
    assert hgfast.load_checkpoint(model, saved(tmp_path / name, model.state_dict())).complete


class Trap:
    """Runs code when it is unpickled by Python's own unpickler."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('pathlib').Path('sprung').touch()",)


@pytest.mark.parametrize("zipped", [True, False])
def test_other_objects_in_the_file_are_passed_over(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in mmengine's files: buffers of a class that is not installed, arrays, paths; and code, which must not run."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("absent_package.history")
    history = type("HistoryBuffer", (), {"__module__": module.__name__})
    module.HistoryBuffer = history
    buffer = history()
    buffer.log = np.arange(3.0)
    source, model = small("mmpose", 1), small("mmpose", 2)
    meta = {"sigmas": np.ones(16, np.float32), "one": np.float64(1), "at": pathlib.PurePosixPath("a/b"), "trap": Trap()}
    content = {"meta": meta, "message_hub": {"log_scalars": {"loss": buffer}}, "state_dict": renamed(source)}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "absent_package", types.ModuleType("absent_package"))
        patch.setitem(sys.modules, module.__name__, module)
        path = saved(tmp_path / "c.pth", content, _use_new_zipfile_serialization=zipped)
    assert hgfast.load_checkpoint(model, path).complete
    assert same_weights(model, source)
    assert not (tmp_path / "sprung").exists()


class Blocked:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


def test_what_torch_blocks_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", {"meta": Blocked(), "state_dict": small("mmpose").state_dict()})
    expect_error(small("mmpose", 2), path, "not a readable checkpoint", "sys.exit whose module sys is blocked")


def without(path: Path, **records: bytes) -> Path:
    """The file packed anew, with some of its records replaced."""
    with zipfile.ZipFile(path) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, records.get(name.partition("/")[2].replace(".", "_"), data))
    return path


def pickle_of_classes(count: int) -> bytes:
    """Objects of so many classes."""
    return b"\x80\x02](" + b"".join(b"cm%d\nC\n)\x81" % i for i in range(count)) + b"e."


def test_many_classes_are_read_in_one_go_or_refused(tmp_path: Path) -> None:
    """A file of 6 kB took 46 seconds, and eight times as long with twice as many."""
    path = saved(tmp_path / "c.pth", [1])
    assert len(read_checkpoint(without(path, data_pkl=pickle_of_classes(300)))) == 300
    with pytest.raises(CheckpointError, match="c.pth: not a readable checkpoint .*it names .* classes, too many"):
        read_checkpoint(without(path, data_pkl=pickle_of_classes(5000)))
    with pytest.raises(CheckpointError, match="c.pth: not a readable checkpoint .*more than 2000000 instructions"):
        read_checkpoint(without(path, data_pkl=b"\x80\x02" + b"N0" * 1_100_000 + b"."))


@pytest.mark.parametrize("record", ["data_pkl", "data/0", "more"])
def test_what_unpacks_to_far_more_than_the_file_is_not_unpacked(record: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", {"a": torch.zeros(1)})
    if record == "more":
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("c/more", bytes(30 << 20))
    else:
        without(path, **{record: bytes(30 << 20)})
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="c.pth: not a readable checkpoint .* bytes unpack to 3"):
        read_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_packed_files_are_read(tmp_path: Path) -> None:
    source, model = small("mmpose", 1), small("mmpose", 2)
    assert hgfast.load_checkpoint(model, without(saved(tmp_path / "c.pth", source.state_dict()))).complete
    assert same_weights(model, source)


def test_a_few_numbers_that_stand_for_many(tmp_path: Path) -> None:
    """A file of 2 kB whose weights would be 40 GB."""
    path = saved(tmp_path / "c.pth", {"state_dict": {"backbone.a": torch.zeros(1).expand(100_000, 100_000)}})
    with pytest.raises(CheckpointError, match="c.pth: its weights are 40000000000 bytes, of which it holds 4"):
        convert_checkpoint(path, tmp_path / "d.pth")


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """torch itself reads such a file."""
    model, value = small("mmpose"), struct.pack("<f", 0.7178)
    state = model.state_dict()
    state["backbone.stem.0.bn.weight"].fill_(0.7178)
    path = saved(tmp_path / "c.pth", state)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(value * 4)] ^= 1
    path.write_bytes(damaged)
    assert torch.load(path, weights_only=True).keys() == state.keys()
    expect_error(small("mmpose", 2), path, "c.pth: not a readable checkpoint", "CRC")
    torch.serialization.set_crc32_options(False)
    try:
        saved(path, state)
    finally:
        torch.serialization.set_crc32_options(True)
    assert hgfast.load_checkpoint(small("mmpose", 2), path).complete


def test_whole_modules_and_programs_have_their_own_sentence(tmp_path: Path) -> None:
    model, path = small("mmpose"), tmp_path / "c.pth"
    for content in (model, {"model": model, "epoch": 3}):
        message = "c.pth: holds a whole object of class hgfast.models.hourglass_pose.HourglassPose"
        expect_error(model, saved(path, content), message, "save its state_dict() instead")
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 1, 1)), path)
    expect_error(model, path, "c.pth: not a readable checkpoint", "a TorchScript program")


WEIGHTS = {
    "sparse": (lambda x: x.to_sparse(), "(5,) sparse_coo"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "(5,) qint8"),
    "meta": (lambda x: x.to("meta"), "(5,) meta"),
    "complex": (lambda x: x.to(torch.complex64), "(5,) complex64"),
    "shape": (lambda x: x[:2].clone(), "(2,)"),
    "bool": (lambda x: x > 0, "(5,) bool"),
    "text": (lambda x: "x", "must be a tensor, got str"),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_all_or_nothing(kind: str, strict: bool, tmp_path: Path) -> None:
    """The last weight of a file is none that the model can take."""
    source, model = small("mmpose", 1), small("mmpose", 2)
    state, before = source.state_dict(), {name: value.clone() for name, value in model.state_dict().items()}
    last = list(state)[-1]
    change, message = WEIGHTS[kind]
    path = saved(tmp_path / "c.pth", state | {last: change(state[last])})
    if strict or kind == "text":
        with pytest.raises(CheckpointError, match=re.escape(message)):
            hgfast.load_checkpoint(model, path, strict=strict)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    else:
        assert hgfast.load_checkpoint(model, path, strict=False).mismatched == {last: ("(5,)", message)}
        expected = state | {last: before[last]}
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_models_that_cannot_take_weights(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pth", small("mmpose").state_dict())
    with torch.device("meta"):
        empty = small_model("mmpose")
    with pytest.raises(ValueError, match="model must have memory for its weights, backbone.* is on the meta device"):
        hgfast.load_checkpoint(empty, path)
    with torch.inference_mode():
        fixed = small_model("mmpose")
    with pytest.raises(ValueError, match="model must not be built in inference mode"):
        hgfast.load_checkpoint(fixed, path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, "c.pth"), "load_checkpoint: model must be a Module, got dict"),
        ((None, "c.pth"), "load_checkpoint: model must be a Module, got None"),
        (("model", 3), "load_checkpoint: path must be a path, got int 3"),
        (("model", b"c.pth"), "load_checkpoint: path must be a path, got bytes"),
        (("model", "c.pth", "yes"), "load_checkpoint: strict must be True or False, got str 'yes'"),
        (("model", "c.pth", True, 1), "load_checkpoint: check_hash must be True or False, got int 1"),
    ],
)
def test_wrong_types(arguments: tuple[Any, ...], message: str) -> None:
    model, path, *strict_and_check = arguments
    options = dict(zip(("strict", "check_hash"), strict_and_check, strict=False))
    with pytest.raises(TypeError, match=message):
        hgfast.load_checkpoint(small("mmpose") if model == "model" else model, path, **options)


def test_error_can_be_pickled(tmp_path: Path) -> None:
    """Worker processes hand errors over by pickle."""
    error = pickle.loads(pickle.dumps(CheckpointError("text")))
    assert isinstance(error, RuntimeError) and isinstance(error, ValueError) and str(error) == "text"
