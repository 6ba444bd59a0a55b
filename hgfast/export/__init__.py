"""Networks for other runtimes: ONNX, TorchScript, torch.export and OpenVINO."""

from hgfast.export.compare import Differences, ExportError
from hgfast.export.deployed import Deployed
from hgfast.export.export import ExportReport, export_network
from hgfast.export.forms import FORMS

__all__ = ["FORMS", "Deployed", "Differences", "ExportError", "ExportReport", "export_network"]
