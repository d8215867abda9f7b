"""The attacks of torchattacks, ART and adv-lib that cannot attack a detector of images, and why."""

from collections.abc import Mapping

_OBJECTS = "attacks object detectors and trackers, not classifiers"
_SPEECH = "attacks speech recognisers"
_VIDEO = "attacks classifiers of video"
_TENSORFLOW = "written for TensorFlow; the class for PyTorch does the same"
_GUIDE = "needs guide images whose features are imitated"
_TWO_CLASSES = (
    "the DLR loss needs three classes or more, targeted four, and a detector has two: the attack fails "
    "at the first image that withstands APGD"
)
_STICKER = "needs a mask of the object that carries the sticker, its width and the camera's focal length"

_REASONS: Mapping[str, Mapping[str, str]] = {
    "adv_lib.attacks": {
        "apgd_targeted": "the targeted DLR loss needs four classes, and a detector has two",
    },
    "torchattacks": {
        "APGDT": "the targeted DLR loss needs four classes, and a detector has two",
        "AutoAttack": _TWO_CLASSES,
        "LGV": "trains surrogates and needs a loader of training images",
        "MultiAttack": "needs other attack objects; give each a pipeline of its own",
    },
    "art.attacks.evasion": {
        "AdversarialPatchNumpy": "the constructor fails on every PyTorch classifier; AdversarialPatchPyTorch works",
        "AdversarialPatchTensorFlowV2": _TENSORFLOW,
        "AdversarialTexturePyTorch": _OBJECTS,
        "AutoAttack": _TWO_CLASSES,
        "CarliniWagnerASR": _SPEECH,
        "DPatch": _OBJECTS,
        "DecisionTreeAttack": "attacks decision trees",
        "FeatureAdversariesNumpy": _GUIDE,
        "FeatureAdversariesPyTorch": _GUIDE,
        "FeatureAdversariesTensorFlowV2": _GUIDE,
        "FrameSaliencyAttack": _VIDEO,
        "GRAPHITEBlackbox": _STICKER,
        "GRAPHITEWhiteboxPyTorch": _STICKER,
        "HighConfidenceLowUncertainty": "attacks Gaussian processes",
        "ImperceptibleASR": _SPEECH,
        "ImperceptibleASRPyTorch": _SPEECH,
        "LaserAttack": "needs a generator of laser beams as an object",
        "LowProFool": "attacks tabular data and needs the importance of every feature",
        "MalwareGDTensorFlow": "attacks detectors of malware in executables",
        "OverTheAirFlickeringPyTorch": _VIDEO,
        "OverloadPyTorch": _OBJECTS,
        "ProjectedGradientDescentTensorFlowV2": _TENSORFLOW,
        "RobustDPatch": _OBJECTS,
        "SNAL": _OBJECTS,
        "ThresholdAttack": (
            "the differential evolution over every channel value takes minutes per image, and CMA-ES needs a package "
            "that ART does not install"
        ),
    },
}


def unusable(library: str) -> Mapping[str, str]:
    """Return the attacks of a library, by the name of its module, that cannot attack a detector, with the reasons."""
    return _REASONS.get(library, {})


def reason_against(library: str, class_name: str) -> str | None:
    """Return the reason why a class cannot attack a detector; None if no reason is known.

    Parameters
    ----------
    library
        The module's name, such as ``torchattacks``.
    class_name
        The class.
    """
    return _REASONS.get(library, {}).get(class_name)
