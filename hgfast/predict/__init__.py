"""From pictures or videos and boxes to keypoints in picture pixels."""

from hgfast.predict.inputs import Boxes, Image
from hgfast.predict.predictor import Predictor, autocast
from hgfast.predict.results import Prediction, Seen

__all__ = ["Boxes", "Image", "Prediction", "Predictor", "Seen", "autocast"]
