"""The perturbations of the catalogue. Written by make docs from the recipes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from robustbench_aigen.stages.recipe import ChainRecipe, PerturbationRecipe
from robustbench_aigen.stages.stage import Perturbation

_T = TypeVar("_T")
_Number: TypeAlias = float | str
_Values: TypeAlias = _T | Sequence[_T]

def create(recipe: str | Path, **given: object) -> Perturbation: ...

class _avif:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        quality: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """AVIF compression by a real codec (libavif), where Pillow has it.

        Parameters
        ----------
        quality
            whole number from 0 to 100; by default 75
        severity
            whole number from 1 to 5, which sets quality; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Alliance for Open Media, AV1 Image File Format; severities on the qualities of CIFAR-10-C's JPEG
        """

avif: _avif

class _bit_depth:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        bits: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Reduction of the levels per channel.

        Parameters
        ----------
        bits
            whole number from 1 to 8; by default 4
        severity
            whole number from 1 to 5, which sets bits; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Xu, Evans and Qi 2018, Feature Squeezing, arXiv:1704.01155
        """

bit_depth: _bit_depth

class _brightness:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        shift: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Shift of the HSV value channel.

        Parameters
        ----------
        shift
            number from -1 to 1; by default 0.15
        severity
            whole number from 1 to 5, which sets shift; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

brightness: _brightness

class _camera:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        quality: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo of the image by a camera: lens, sensor, JPEG of high quality.

        Parameters
        ----------
        quality
            whole number from 1 to 100; by default 93
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition: effects of a consumer lens and a sensor at base sensitivity, then JPEG 4:2:2 as cameras store it
        """

camera: _camera

class _camera_metadata:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        camera: _Values[Literal["canon_eos_r6", "iphone_13", "pixel_7"]] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """The EXIF of a camera in the file of the image; the pixels stay.

        Parameters
        ----------
        camera
            one of canon_eos_r6, iphone_13, pixel_7; by default iphone_13
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition: tags of Exif 2.32 (CIPA DC-008-2019), names and lenses as the cameras write them; exposure and time follow from a hash of the pixels
        """

camera_metadata: _camera_metadata

class _center_crop:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        share: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Crop of the centre of the image.

        Parameters
        ----------
        share
            number from 0.01 to 1; by default 0.875
        severity
            whole number from 1 to 5, which sets share; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: cropping of Wang et al. 2020, CNN-generated Images Are Surprisingly Easy to Spot, arXiv:1912.11035
        """

center_crop: _center_crop

class _chromatic_aberration:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        shift: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Red and blue magnified differently from green.

        Parameters
        ----------
        shift
            number from -20 to 20; by default 1
        severity
            whole number from 1 to 5, which sets shift; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: lateral chromatic aberration: Kang 2007, Automatic Removal of Chromatic Aberration from a Single Image, CVPR
        """

chromatic_aberration: _chromatic_aberration

class _contrast:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        factor: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Scaling of the distance to the channel mean.

        Parameters
        ----------
        factor
            number from 0 to 10; by default 0.5
        severity
            whole number from 1 to 5, which sets factor; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

contrast: _contrast

class _diffusion_round_trip:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        model: _Values[str],
        strength: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        device: _Values[Literal["cpu", "cuda"]] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Laundering by a diffusion model, noise of a strength and denoising; needs a model.

        Parameters
        ----------
        model
            model of diffusers, FOLDER or hf:ORG/NAME; required
        strength
            number from 0.001 to 1; by default 0.3
        steps
            whole number from 1 to 1000; by default 50
        device
            one of cpu, cuda; by default cpu
        severity
            whole number from 1 to 5, which sets strength; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Meng et al. 2022, SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations, arXiv:2108.01073; schedule: image-to-image pipelines of diffusers; laundering: Mandelli et al. 2024, arXiv:2407.10736
        """

diffusion_round_trip: _diffusion_round_trip

class _facebook:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        quality: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo posted on Facebook, at most 2048 pixels a side, JPEG of a quality from 71 to 95 that varies with the image.

        Parameters
        ----------
        quality
            whole number from 71 to 95; by default 71
        severity
            whole number from 1 to 5, which sets quality; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: quality: 71 to 95 in the model of social networks of Wu et al. 2022, Robust Image Forgery Detection Against Transmission Over Online Social Networks, TIFS 17 (github.com/HighwayWu/ImageForensicsOSN, train.py); the default is its lower end. Size and Lanczos filter: S. Odio (Facebook) in P. Yuen 2010, An in depth look at Facebook's new photo service. Chroma is assumed
        """

facebook: _facebook

class _film_grain:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        sigma: _Values[_Number] = ...,
        size: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Grain of film, strongest in the middle tones.

        Parameters
        ----------
        sigma
            length in pixel units, where a channel goes from 0 to 1 of at most 1; by default 6/255
        size
            number from 0 to 10; by default 0.6
        severity
            whole number from 1 to 5, which sets sigma; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition; dependence on the tone of a film of grains: Newson et al. 2017, A Stochastic Film Grain Model for Resolution-Independent Rendering
        """

film_grain: _film_grain

class _fit_within:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        side: _Values[int] = ...,
        filter: _Values[Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Reduction until the longer side has at most a number of pixels; smaller images stay unchanged.

        Parameters
        ----------
        side
            whole number from 1 to 65535; by default 1280
        filter
            one of nearest, box, bilinear, hamming, bicubic, lanczos; by default bilinear
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: what image sharing platforms do to large uploads; the platforms' numbers are in their own recipes
        """

fit_within: _fit_within

class _flip:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        direction: _Values[Literal["horizontal", "vertical"]] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Mirroring of the image.

        Parameters
        ----------
        direction
            one of horizontal, vertical; by default horizontal
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: the usual augmentation; a detector that it changes has learned a direction
        """

flip: _flip

class _frequency_attenuation:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        start: _Values[_Number] = ...,
        strength: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Weaker high frequencies, with a smooth edge.

        Parameters
        ----------
        start
            number from 0.01 to 1.4; by default 0.6
        strength
            number from 0 to 1; by default 0.8
        severity
            whole number from 1 to 5, which sets strength; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Wesselkamp et al. 2022, Misleading Deep-Fake Detection with GAN Fingerprints, arXiv:2205.12543
        """

frequency_attenuation: _frequency_attenuation

class _gamma:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        exponent: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Every value raised to a power.

        Parameters
        ----------
        exponent
            number from 0.05 to 20; by default 1.5
        severity
            whole number from 1 to 5, which sets exponent; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Gonzalez and Woods, Digital Image Processing, section 3.2 (power-law transformations)
        """

gamma: _gamma

class _gaussian_blur:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        sigma: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Gaussian blur of a width in image pixels.

        Parameters
        ----------
        sigma
            number from 0.01 to 100; by default 1
        severity
            whole number from 1 to 5, which sets sigma; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

gaussian_blur: _gaussian_blur

class _gaussian_noise:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        sigma: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Independent Gaussian noise on every channel of every pixel, clipped to the range.

        Parameters
        ----------
        sigma
            length in pixel units, where a channel goes from 0 to 1 of at most 1; by default 8/255
        severity
            whole number from 1 to 5, which sets sigma; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

gaussian_noise: _gaussian_noise

class _jpeg:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        quality: _Values[int] = ...,
        subsampling: _Values[Literal["4:2:0", "4:2:2", "4:4:4"]] = ...,
        repeats: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """JPEG compression by a real codec (libjpeg), with 4:2:0 chroma by default.

        Parameters
        ----------
        quality
            whole number from 1 to 100; by default 75
        subsampling
            one of 4:2:0, 4:2:2, 4:4:4; by default 4:2:0
        repeats
            whole number from 1 to 100; by default 1
        severity
            whole number from 1 to 5, which sets quality; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

jpeg: _jpeg

class _jpeg_cycles:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        cycles: _Values[int] = ...,
        quality: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Several JPEGs, each with the 8×8 grid at another place.

        Parameters
        ----------
        cycles
            whole number from 1 to 20; by default 3
        quality
            whole number from 1 to 100; by default 85
        severity
            whole number from 1 to 5, which sets quality; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition; traces of misaligned JPEG: Bianchi and Piva 2012, Detection of Nonaligned Double JPEG Compression Based on Integer Periodicity Maps
        """

jpeg_cycles: _jpeg_cycles

class _lens_distortion:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        strength: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Barrel or pincushion distortion of a lens.

        Parameters
        ----------
        strength
            number from -0.3 to 0.5; by default 0.05
        severity
            whole number from 1 to 5, which sets strength; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Brown 1971, Close-range camera calibration; one radial coefficient
        """

lens_distortion: _lens_distortion

class _median_blur:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        size: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Median of a square neighbourhood, channel by channel.

        Parameters
        ----------
        size
            whole number from 1 to 31; by default 3
        severity
            whole number from 1 to 5, which sets size; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Tukey 1977, Exploratory Data Analysis, chapter 7
        """

median_blur: _median_blur

class _messenger:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        quality: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """The image forwarded through messengers: at most 1600 pixels a side, JPEGs with other grids, WebP.

        Parameters
        ----------
        quality
            whole number from 1 to 100; by default 75
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition: limits of whatsapp.yaml, a forwarded screenshot that moves the 8×8 grid, and a sticker server that stores WebP
        """

messenger: _messenger

class _motion_blur:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        radius: _Values[int] = ...,
        sigma: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """One-sided motion blur at a random angle per image.

        Parameters
        ----------
        radius
            whole number from 1 to 50; by default 6
        sigma
            number from 0.01 to 100; by default 2
        severity
            whole number from 1 to 5, which sets radius, sigma; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

motion_blur: _motion_blur

class _peak_removal:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        threshold: _Values[_Number] = ...,
        size: _Values[int] = ...,
        start: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Isolated peaks of the spectrum cut to the median around them.

        Parameters
        ----------
        threshold
            number from 1 to 100; by default 6
        size
            whole number from 3 to 31; by default 5
        start
            number from 0 to 1.4; by default 0.2
        severity
            whole number from 1 to 5, which sets threshold; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Wesselkamp et al. 2022, Misleading Deep-Fake Detection with GAN Fingerprints, arXiv:2205.12543, section 3 (peaks)
        """

peak_removal: _peak_removal

class _phase_noise:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        sigma: _Values[_Number] = ...,
        start: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Random turns of the phases of high frequencies.

        Parameters
        ----------
        sigma
            number from 0 to 3.2; by default 0.3
        start
            number from 0 to 1; by default 0.25
        severity
            whole number from 1 to 5, which sets sigma; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition; phases of the spectrum carry structure: Oppenheim and Lim 1981, The importance of phase in signals
        """

phase_noise: _phase_noise

class _pixelate:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        scale: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Shrink and enlarge with a box filter.

        Parameters
        ----------
        scale
            number from 0.01 to 1; by default 0.85
        severity
            whole number from 1 to 5, which sets scale; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

pixelate: _pixelate

class _poisson_noise:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        photons: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Shot noise, Poisson counts with a given number of photons at white.

        Parameters
        ----------
        photons
            number from 1 to 1e+06; by default 100
        severity
            whole number from 1 to 5, which sets photons; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

poisson_noise: _poisson_noise

class _print_scan:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        degrees: _Values[_Number] = ...,
        quality: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """The image printed on paper and scanned: contrast of paper, blur, a slight turn, noise, JPEG.

        Parameters
        ----------
        degrees
            number from -1.5 to 1.5; by default 0.5
        quality
            whole number from 1 to 100; by default 85
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition after the model of Lin and Chang 1999, Distortion Modeling and Invariant Extraction for Digital Image Print-and-Scan Process: tone, blur and noise, then rotation, scaling and cropping
        """

print_scan: _print_scan

class _random_crop:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        share: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Crop of a part of the image, at a random place per image.

        Parameters
        ----------
        share
            number from 0.01 to 1; by default 0.875
        severity
            whole number from 1 to 5, which sets share; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: cropping of Wang et al. 2020, CNN-generated Images Are Surprisingly Easy to Spot, arXiv:1912.11035
        """

random_crop: _random_crop

class _reshared:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo posted on Twitter, saved there and sent through WhatsApp.

        Parameters
        ----------
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition, of the two recipes
        """

reshared: _reshared

class _resize:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        scale: _Values[_Number] = ...,
        filter: _Values[Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]] = ...,
        back: _Values[bool] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Resizing by a factor, antialiased, by default back to the original size.

        Parameters
        ----------
        scale
            number from 0.05 to 8; by default 0.5
        filter
            one of nearest, box, bilinear, hamming, bicubic, lanczos; by default bilinear
        back
            True or False; by default True
        severity
            whole number from 1 to 5, which sets scale; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Degradations of GenImage (Zhu et al. 2023, arXiv:2306.08571), with the factor free
        """

resize: _resize

class _resize_to:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        side: _Values[int] = ...,
        filter: _Values[Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]] = ...,
        back: _Values[bool] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Resizing until the shorter side has a number of pixels (GenImage's LR 112 and LR 64), antialiased.

        Parameters
        ----------
        side
            whole number from 1 to 8192; by default 112
        filter
            one of nearest, box, bilinear, hamming, bicubic, lanczos; by default bilinear
        back
            True or False; by default True
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Zhu et al. 2023, GenImage, section 5.3, arXiv:2306.08571
        """

resize_to: _resize_to

class _rotate:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        degrees: _Values[_Number] = ...,
        expand: _Values[bool] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Rotation, bicubic, corners black.

        Parameters
        ----------
        degrees
            number from -180 to 180; by default 5
        expand
            True or False; by default False
        severity
            whole number from 1 to 5, which sets degrees; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Engstrom et al. 2019, Exploring the Landscape of Spatial Robustness, arXiv:1712.02779
        """

rotate: _rotate

class _salt_and_pepper:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        amount: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A share of the channel values set to black or white (impulse noise).

        Parameters
        ----------
        amount
            number from 0 to 1; by default 0.03
        severity
            whole number from 1 to 5, which sets amount; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

salt_and_pepper: _salt_and_pepper

class _saturation:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        factor: _Values[_Number] = ...,
        shift: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Scaling and shift of the HSV saturation.

        Parameters
        ----------
        factor
            number from 0 to 20; by default 0.3
        shift
            number from -1 to 1; by default 0
        severity
            whole number from 1 to 5, which sets factor, shift; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

saturation: _saturation

class _screenshot:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        scale: _Values[_Number] = ...,
        quality: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Display at another resolution, capture at this resolution, and storage as JPEG.

        Parameters
        ----------
        scale
            number from 0.1 to 4; by default 1.25
        quality
            whole number from 1 to 100; by default 85
        severity
            whole number from 1 to 5, which sets quality; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition: bicubic scaling by the display, then JPEG 4:2:0
        """

screenshot: _screenshot

class _sensor_noise:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        shot: _Values[_Number] = ...,
        read: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Bayer mosaic, noise of a sensor and bilinear demosaicing.

        Parameters
        ----------
        shot
            number from 0 to 1; by default 0.001
        read
            length in pixel units, where a channel goes from 0 to 1 of at most 1; by default 1/255
        severity
            whole number from 1 to 5, which sets shot; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: noise: Foi et al. 2008, Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data; mosaic: Bayer 1976, US patent 3971065
        """

sensor_noise: _sensor_noise

class _sharpen:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        amount: _Values[_Number] = ...,
        sigma: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Unsharp masking.

        Parameters
        ----------
        amount
            number from 0 to 20; by default 1
        sigma
            number from 0.01 to 100; by default 1
        severity
            whole number from 1 to 5, which sets amount; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Gonzalez and Woods, Digital Image Processing, section 3.6 (unsharp masking)
        """

sharpen: _sharpen

class _signal:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo sent through Signal for Android at standard quality, at most 1600 pixels a side, JPEG 70.

        Parameters
        ----------
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Signal-Android, org/thoughtcrime/securesms/mms/PushMediaConstraints.java, as of 2024: LEVEL_1, targets 1600 pixels and quality 70. Smaller targets for files above 1 MiB are left out; the filter is assumed
        """

signal: _signal

class _speckle_noise:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        sigma: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Gaussian noise in proportion to the pixel's value.

        Parameters
        ----------
        sigma
            number from 0 to 10; by default 0.12
        severity
            whole number from 1 to 5, which sets sigma; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions, arXiv:1903.12261; severities of CIFAR-10-C
        """

speckle_noise: _speckle_noise

class _spectrum_match:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        exponent: _Values[_Number] = ...,
        start: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """High frequencies with the mean magnitude of photographs, a power of the frequency.

        Parameters
        ----------
        exponent
            number from 0 to 4; by default 1
        start
            number from 0.01 to 1; by default 0.25
        severity
            whole number from 1 to 5, which sets start; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Field 1987, Relations between the statistics of natural images and the response properties of cortical cells; fall of the spectrum of generators: Durall et al. 2020, Watch your Up-Convolution, arXiv:2003.01826
        """

spectrum_match: _spectrum_match

class _telegram:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo sent through Telegram's desktop client, at most 1280 pixels a side, JPEG 87.

        Parameters
        ----------
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Telegram Desktop, Telegram/SourceFiles/storage/localimageloader.cpp, as of 2023: PhotoSideLimit 1280, ComputePhotoJpegBytes quality 87. A JPEG of at most 4 bits a pixel that needs no shrinking is sent as it is; the Android client writes quality 80. The filter stands for Qt's smooth scaling
        """

telegram: _telegram

class _text_overlay:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        text: _Values[str] = ...,
        height: _Values[_Number] = ...,
        opacity: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """White text in the lower right corner, like captions and watermarks.

        Parameters
        ----------
        text
            text; by default photo by me
        height
            number from 0.01 to 1; by default 0.1
        opacity
            number from 0 to 1; by default 0.8
        severity
            whole number from 1 to 5, which sets height; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition
        """

text_overlay: _text_overlay

class _texture_match:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        contrast: _Values[_Number] = ...,
        sigma: _Values[_Number] = ...,
        strongest: _Values[_Number] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Fine texture with the co-occurrence contrast of photographs.

        Parameters
        ----------
        contrast
            number from 0 to 65025; by default 300
        sigma
            number from 0.1 to 20; by default 1
        strongest
            number from 1 to 20; by default 3
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: own definition; co-occurrence matrices of generated images: Nataraj et al. 2019, Detecting GAN generated Fake Images using Co-occurrence Matrices, arXiv:1903.06836
        """

texture_match: _texture_match

class _twitter:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo posted on Twitter (X) and seen in its large size, at most 2048 pixels a side, JPEG 85.

        Parameters
        ----------
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: JPEG: N. O'Brien (Twitter), Upcoming changes to PNG image support, twittercommunity.com/t/118695, 2018, 85 % JFIF quality. Size: Twitter API v1.1, media entities, large fits 2048x2048. Twitter keeps a JPEG of lower quality as it is; filter and chroma are assumed
        """

twitter: _twitter

class _vae_round_trip:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        model: _Values[str],
        passes: _Values[int] = ...,
        device: _Values[Literal["cpu", "cuda"]] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Laundering by an autoencoder, into its latents and back; needs a model.

        Parameters
        ----------
        model
            model of diffusers, FOLDER or hf:ORG/NAME; required
        passes
            whole number from 1 to 100; by default 1
        device
            one of cpu, cuda; by default cpu
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: Mandelli et al. 2024, When Synthetic Traces Hide Real Content: Analysis of Stable Diffusion Image Laundering, arXiv:2407.10736; autoencoders: Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, arXiv:2112.10752
        """

vae_round_trip: _vae_round_trip

class _vignetting:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        strength: _Values[_Number] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Darker corners.

        Parameters
        ----------
        strength
            number from 0 to 0.95; by default 0.2
        severity
            whole number from 1 to 5, which sets strength; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: cos⁴ law; Goldman and Chen 2005, Vignette and Exposure Calibration and Compensation, ICCV
        """

vignetting: _vignetting

class _webp:
    recipe: PerturbationRecipe
    def __call__(
        self,
        *,
        quality: _Values[int] = ...,
        severity: _Values[int] = ...,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """Lossy WebP compression by a real codec (libwebp).

        Parameters
        ----------
        quality
            whole number from 0 to 100; by default 75
        severity
            whole number from 1 to 5, which sets quality; by default not given
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: RFC 9649, WebP Image Format; severities on the qualities of CIFAR-10-C's JPEG
        """

webp: _webp

class _whatsapp:
    recipe: ChainRecipe
    def __call__(
        self,
        *,
        mask: _Values[str] = ...,
    ) -> Perturbation:
        """A photo sent through WhatsApp, at most 1600 pixels a side, JPEG 80.

        Parameters
        ----------
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything

        A list of values for a parameter is a sweep.

        Source: defaults of WhatsApp's Windows Phone client (class Settings, decompiled): ImageMaxEdge 1600, JpegQuality 80; its server can change both (image_max_edge, image_quality), and later clients may differ. Filter and chroma are assumed
        """

whatsapp: _whatsapp
