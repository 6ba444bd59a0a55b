"""Fused networks under DistributedDataParallel, two gloo processes, with and without synchronised statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import hgfast
from hgfast.nn import BatchNormAct
from tests.ddp_worker import alone, work
from tests.processes import run_pair
from tests.small_models import FAMILIES

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")


def two_processes(tmp_path: Path, *arguments: object) -> dict[str, torch.Tensor]:
    run_pair(work, str(tmp_path), *arguments)
    return torch.load(tmp_path / "result.pt", weights_only=True)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_synchronised_halves_train_as_the_whole_batch(family: str, recompute: bool, tmp_path: Path) -> None:
    """Three steps: weights that never run would break the second one."""
    got, expected = two_processes(tmp_path, family, True, recompute), alone(family)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


def test_own_statistics_differ_from_the_whole_batch(tmp_path: Path) -> None:
    got, expected = two_processes(tmp_path, "mmpose", False, False), alone("mmpose")
    assert not torch.allclose(got["backbone.stem.0.bn.running_var"], expected["backbone.stem.0.bn.running_var"])


def test_conversion_reaches_every_kind_of_batch_norm() -> None:
    model = nn.Sequential(hgfast.nn.BasicBlock(4, 4), BatchNormAct(4), nn.BatchNorm2d(4))
    keys = list(model.state_dict())
    converted = hgfast.nn.convert_sync_batchnorm(model)
    assert converted is model and list(model.state_dict()) == keys
    assert model[0].bn1.synchronised and model[1].synchronised and type(model[2]) is nn.SyncBatchNorm
    x = torch.randn(2, 4, 3, 3)  # without processes the statistics are the module's own, on the CPU too
    plain = hgfast.nn.BasicBlock(4, 4)
    plain.load_state_dict(model[0].state_dict())
    torch.testing.assert_close(model[0](x), plain(x))
    assert nn.SyncBatchNorm.convert_sync_batchnorm(BatchNormAct(4)).relu
    model[0].conv1.register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="BasicBlock with hooks or changed parts cannot synchronise"):
        model[0](x)
