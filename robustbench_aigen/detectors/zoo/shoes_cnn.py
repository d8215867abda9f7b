"""The CNN of study A for shoes: unpadded, at 240×240."""

from torch import nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC
from robustbench_aigen.detectors.zoo.cifake_cnn import CifakeCNN

INPUT_SIZE = (240, 240)
NORMALISATION = SYMMETRIC


def build(input_size: int = 240) -> nn.Module:
    """Build the unpadded stack of study A (Kakar & Reeves 2024): 44.72 M parameters at 240×240.

    The listing of the study has no padding. Its input is 256×256 there and 240×240 in the text; 240×240, the size
    of the shoes, is taken.
    """
    return CifakeCNN(input_size, padding=False)
