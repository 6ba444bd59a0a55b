"""Training steps and inference of networks of tests/zoo; `python -m benchmarks.zoo` measures all of them.

    python -m benchmarks.table --only zoo/ --device cpu --budget 60

The cases are those that other bench files do not have: other layouts of Newell's network, and other families.
"""

from __future__ import annotations

from benchmarks.harness import benchmark_test
from benchmarks.zoo import inference_case, training_case
from tests.zoo.table import NETWORKS

NAMES = ("hg8 (bearpaw)", "FAN-4", "HRNet-W32 (MMPose)", "HRNet-W32 (timm)", "SimpleBaseline-50", "ResNet-50")
CHOSEN = [network for network in NETWORKS if network.name in NAMES]
TRAINING = [training_case(network, "NCHW") for network in CHOSEN]
CASES = [*TRAINING, *(inference_case(network) for network in CHOSEN if network.frozen)]

test_case = benchmark_test([case for case in CASES if "ResNet-50" in case.name], rounds=3)
