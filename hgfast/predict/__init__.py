"""From pictures or videos and boxes to keypoints in picture pixels."""

from hgfast.predict.detector import Detector, torchvision_detector
from hgfast.predict.form import autocast
from hgfast.predict.inputs import Boxes, Image
from hgfast.predict.predictor import Predictor
from hgfast.predict.results import Prediction, Seen
from hgfast.predict.tracker import Tracker

__all__ = [
    "Boxes",
    "Detector",
    "Image",
    "Prediction",
    "Predictor",
    "Seen",
    "Tracker",
    "autocast",
    "torchvision_detector",
]
