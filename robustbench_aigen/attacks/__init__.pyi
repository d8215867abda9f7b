"""The attacks of the catalogue. Written by make docs from the recipes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from robustbench_aigen.stages.recipe import AttackRecipe
from robustbench_aigen.stages.stage import Attack, Perturbation

_T = TypeVar("_T")
_Number: TypeAlias = float | str
_Values: TypeAlias = _T | Sequence[_T]

def create(recipe: str | Path, **given: object) -> Attack: ...

class _alma:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib"]] = ...,
        norm: _Values[Literal["l2", "l1"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        first_step: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Augmented Lagrangian method, a minimum-norm attack with a penalty whose weight adapts to each image.

        Parameters
        ----------
        backend
            one of adv_lib; by default adv_lib
        norm
            one of l2, l1; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5 in l2, 12 in l1
        steps
            whole number of at least 1; by default 100
        first_step
            number of at least 1e-06; by default 0.1 in l2, 0.5 in l1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Rony et al. 2021, Augmented Lagrangian Adversarial Attacks, arXiv:2011.11857
        """

alma: _alma

class _apgd:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "adv_lib"]] = ...,
        norm: _Values[Literal["linf", "l2", "l1"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        restarts: _Values[int] = ...,
        widened: _Values[_Number] = ...,
        loss: _Values[Literal["ce", "margin"]] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Auto-PGD on the cross-entropy or the margin, with an adaptive step size; in L1 with adaptive sparsity.

        Parameters
        ----------
        backend
            one of native, torchattacks, adv_lib; by default native
        norm
            one of linf, l2, l1; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2, 12 in l1
        steps
            whole number of at least 1; by default 50
        restarts
            whole number of at least 1; by default 1
        widened
            number of at least 1; by default 1 in linf, 1 in l2, 3 in l1
        loss
            one of ce, margin; by default ce
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness, section 3, arXiv:2003.01690; for L1 Croce and Hein 2021, Mind the box, arXiv:2103.01208
        """

apgd: _apgd

class _auto:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        restarts: _Values[int] = ...,
        queries: _Values[int] = ...,
        effort: _Values[Literal["adaptive", "exhaustive"]] = ...,
        audit: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """The worst of several attacks for every image, chosen by what the detector shows; the default for a paper.

        Parameters
        ----------
        backend
            one of native; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        steps
            whole number of at least 1; by default 50
        restarts
            whole number of at least 1; by default 5
        queries
            whole number of at least 1; by default 1000
        effort
            one of adaptive, exhaustive; by default adaptive
        audit
            number from 0.01 to 1; by default 0.05
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness (AutoAttack), for two classes, arXiv:2003.01690
        """

auto: _auto

class _autoconjugate:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["art"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        starts: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Auto conjugate gradient on the cross-entropy, with directions that include earlier directions.

        Parameters
        ----------
        backend
            one of art; by default art
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 50
        starts
            whole number of at least 1; by default 1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Yamamura et al. 2022, Diversified Adversarial Attacks based on Conjugate Gradient Method, arXiv:2206.09628
        """

autoconjugate: _autoconjugate

class _bim:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "art"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        lookahead: _Values[bool] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Basic iterative method, FGSM in small steps from the image itself.

        Parameters
        ----------
        backend
            one of native, torchattacks, art; by default native
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        lookahead
            True or False; by default True
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Kurakin, Goodfellow and Bengio 2017, Adversarial Examples in the Physical World, arXiv:1607.02533
        """

bim: _bim

class _boundary:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["art"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        samples: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Decision-based black-box attack, a random walk along the boundary.

        Parameters
        ----------
        backend
            one of art; by default art
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 1000
        samples
            whole number of at least 1; by default 20
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Brendel, Rauber and Bethge 2018, Decision-Based Adversarial Attacks, arXiv:1712.04248
        """

boundary: _boundary

class _cw:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "art"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        searches: _Values[int] = ...,
        constant: _Values[_Number] = ...,
        confidence: _Values[_Number] = ...,
        learning_rate: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Carlini and Wagner's L2 attack, a minimum-norm attack by Adam with a search over its constant.

        Parameters
        ----------
        backend
            one of native, torchattacks, art; by default native
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 50
        searches
            whole number of at least 1; by default 4
        constant
            number of at least 1e-06; by default 1
        confidence
            number of at least 0; by default 0
        learning_rate
            number of at least 1e-06; by default 0.01
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Carlini and Wagner 2017, Towards Evaluating the Robustness of Neural Networks, section VI, arXiv:1608.04644
        """

cw: _cw

class _ddn:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib", "foolbox"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        gamma: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Decoupled direction and norm, a minimum-norm attack with steps of a fixed direction and an adapted length.

        Parameters
        ----------
        backend
            one of adv_lib, foolbox; by default adv_lib
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 100
        gamma
            number from 0 to 1; by default 0.05
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Rony et al. 2019, Decoupling Direction and Norm for Efficient Gradient-Based L2 Attacks, arXiv:1811.09600
        """

ddn: _ddn

class _deepfool:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "art"]] = ...,
        norm: _Values[Literal["l2", "linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        overshoot: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """DeepFool, the shortest step to the boundary of the linearised detector, then past the boundary inside eps.

        Parameters
        ----------
        backend
            one of native, torchattacks, art; by default native
        norm
            one of l2, linf; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5 in l2, 4/255 in linf
        steps
            whole number of at least 1; by default 50
        overshoot
            number of at least 0; by default 0.02
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Moosavi-Dezfooli, Fawzi and Frossard 2016, DeepFool, section 2, arXiv:1511.04599
        """

deepfool: _deepfool

class _difgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        diversity: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """FGSM steps through randomly resized and padded inputs, designed for transfer.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 0
        diversity
            number from 0 to 1; by default 0.5
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Xie et al. 2019, Improving Transferability of Adversarial Examples with Input Diversity, arXiv:1803.06978
        """

difgsm: _difgsm

class _eaden:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        searches: _Values[int] = ...,
        learning_rate: _Values[_Number] = ...,
        beta: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Elastic-net attack, smallest perturbation by L1 and L2 together.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 10; by default 100
        searches
            whole number of at least 1; by default 9
        learning_rate
            number of at least 0; by default 0.01
        beta
            number of at least 0; by default 0.001
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Chen et al. 2018, EAD: Elastic-Net Attacks to Deep Neural Networks, arXiv:1709.04114
        """

eaden: _eaden

class _eadl1:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        searches: _Values[int] = ...,
        learning_rate: _Values[_Number] = ...,
        beta: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Elastic-net attack, smallest perturbation by L1.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 10; by default 100
        searches
            whole number of at least 1; by default 9
        learning_rate
            number of at least 0; by default 0.01
        beta
            number of at least 0; by default 0.001
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Chen et al. 2018, EAD: Elastic-Net Attacks to Deep Neural Networks, arXiv:1709.04114
        """

eadl1: _eadl1

class _eotpgd:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        passes: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """PGD on the gradient averaged over several passes, for detectors that draw random numbers.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        passes
            whole number of at least 1; by default 2
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Athalye et al. 2018, Synthesizing Robust Adversarial Examples, arXiv:1707.07397
        """

eotpgd: _eotpgd

class _fab:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "adv_lib"]] = ...,
        norm: _Values[Literal["linf", "l2", "l1"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        restarts: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Fast adaptive boundary attack, a minimum-norm attack by projections that stay near the image.

        Parameters
        ----------
        backend
            one of native, torchattacks, adv_lib; by default native
        norm
            one of linf, l2, l1; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2, 12 in l1
        steps
            whole number of at least 1; by default 50
        restarts
            whole number of at least 1; by default 1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Croce and Hein 2020, Minimally Distorted Adversarial Examples, section 3, arXiv:1907.02044
        """

fab: _fab

class _ffgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        step_size: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """FGSM from a random start, as fast adversarial training uses it.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default 5/255
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Wong, Rice and Kolter 2020, Fast is Better than Free, arXiv:2001.03994
        """

ffgsm: _ffgsm

class _fgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "art"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Fast gradient (sign) method, one step of the whole budget.

        Parameters
        ----------
        backend
            one of native, torchattacks, art; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Goodfellow, Shlens and Szegedy 2015, Explaining and Harnessing Adversarial Examples, arXiv:1412.6572
        """

fgsm: _fgsm

class _fmn:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib", "foolbox"]] = ...,
        norm: _Values[Literal["linf", "l2", "l1", "l0"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        first_step: _Values[_Number] = ...,
        gamma: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Fast minimum-norm attack, gradient steps in a budget that shrinks beyond the boundary and grows before it.

        Parameters
        ----------
        backend
            one of adv_lib, foolbox; by default adv_lib
        norm
            one of linf, l2, l1, l0; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2, 12 in l1, 50 in l0
        steps
            whole number of at least 1; by default 100
        first_step
            number of at least 1e-06; by default 1
        gamma
            number from 0 to 1; by default 0.05
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Pintor et al. 2021, Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints, arXiv:2102.12827
        """

fmn: _fmn

class _hopskipjump:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["art"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        evaluations: _Values[int] = ...,
        most_evaluations: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Decision-based black-box attack along the boundary, by estimated gradients.

        Parameters
        ----------
        backend
            one of art; by default art
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        steps
            whole number of at least 1; by default 30
        evaluations
            whole number of at least 1; by default 100
        most_evaluations
            whole number of at least 1; by default 10000
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Chen, Jordan and Wainwright 2020, HopSkipJumpAttack: A Query-Efficient Decision-Based Attack, arXiv:1904.02144
        """

hopskipjump: _hopskipjump

class _jitter:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        random_start: _Values[bool] = ...,
        scale: _Values[_Number] = ...,
        std: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """PGD on a loss with scaled and jittered logits, for detectors with a flat cross-entropy.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        random_start
            True or False; by default True
        scale
            number of at least 0; by default 10
        std
            number of at least 0; by default 0.1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Schwinn et al. 2021, Exploring Misclassifications of Robust Neural Networks to Enhance Adversarial Attacks, arXiv:2105.10304
        """

jitter: _jitter

class _jsma:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["art"]] = ...,
        norm: _Values[Literal["l0"]] = ...,
        eps: _Values[int] = ...,
        theta: _Values[_Number] = ...,
        share: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Saliency-map attack on pairs of the most influential channel values.

        Parameters
        ----------
        backend
            one of art; by default art
        norm
            one of l0; by default l0
        eps
            whole number of at least 1; by default 50
        theta
            number from -1 to 1; by default 1
        share
            number from 0 to 1; by default 0.1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Papernot et al. 2016, The Limitations of Deep Learning in Adversarial Settings, arXiv:1511.07528
        """

jsma: _jsma

class _mifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "art"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        lookahead: _Values[bool] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Momentum iterative FGSM, designed for transfer.

        Parameters
        ----------
        backend
            one of native, torchattacks, art; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 1
        lookahead
            True or False; by default True
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv:1710.06081
        """

mifgsm: _mifgsm

class _nifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Nesterov iterative FGSM, designed for transfer.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Lin et al. 2020, Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks, arXiv:1908.06281
        """

nifgsm: _nifgsm

class _onepixel:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["l0"]] = ...,
        eps: _Values[int] = ...,
        steps: _Values[int] = ...,
        population: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """A few pixels of any colour, found by differential evolution on the scores.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of l0; by default l0
        eps
            whole number of at least 1; by default 1
        steps
            whole number of at least 1; by default 75
        population
            whole number of at least 1; by default 10
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Su, Vargas and Sakurai 2019, One Pixel Attack for Fooling Deep Neural Networks, arXiv:1710.08864
        """

onepixel: _onepixel

class _pdpgd:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib"]] = ...,
        norm: _Values[Literal["linf", "l2", "l1", "l0"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        learning_rate: _Values[_Number] = ...,
        dual_learning_rate: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Primal-dual proximal gradient descent, a minimum-norm attack on the Lagrangian of the distance and the margin.

        Parameters
        ----------
        backend
            one of adv_lib; by default adv_lib
        norm
            one of linf, l2, l1, l0; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2, 12 in l1, 50 in l0
        steps
            whole number of at least 1; by default 100
        learning_rate
            number of at least 1e-06; by default 0.1
        dual_learning_rate
            number of at least 1e-06; by default 0.1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Matyasko and Chau 2021, PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack, arXiv:2106.01538
        """

pdpgd: _pdpgd

class _pgd:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks", "art"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        random_start: _Values[bool] = ...,
        restarts: _Values[int] = ...,
        lookahead: _Values[bool] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Projected gradient descent with a random start, the standard first attack.

        Parameters
        ----------
        backend
            one of native, torchattacks, art; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        random_start
            True or False; by default True
        restarts
            whole number of at least 1; by default 1
        lookahead
            True or False; by default True
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083
        """

pgd: _pgd

class _pifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        amplification: _Values[_Number] = ...,
        diversity: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Patch-wise iterative FGSM, with large steps whose overflow goes to neighbouring pixels, designed for transfer.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        amplification
            number of at least 0; by default 10
        diversity
            number from 0 to 1; by default 0.7
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Gao et al. 2020, Patch-wise Attack for Fooling Deep Neural Network, arXiv:2007.06765
        """

pifgsm: _pifgsm

class _pixle:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["l0"]] = ...,
        eps: _Values[int] = ...,
        steps: _Values[int] = ...,
        tries: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Rearranges pixels inside small rectangles, by random search on the scores.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of l0; by default l0
        eps
            whole number of at least 1; by default 100
        steps
            whole number of at least 1; by default 20
        tries
            whole number of at least 1; by default 10
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Pomponi, Scardapane and Uncini 2022, Pixle: a Fast and Effective Black-box Attack, arXiv:2202.02236
        """

pixle: _pixle

class _postprocess:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native"]] = ...,
        norm: _Values[Literal["spatial"]] = ...,
        steps: _Values[int] = ...,
        quality: _Values[Literal["ssim", "psnr"]] = ...,
        floor: _Values[_Number] = ...,
        length: _Values[int] = ...,
        search: _Values[Literal["local", "random"]] = ...,
        feedback: _Values[Literal["scores", "verdicts"]] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """A search for a chain of image-processing operations that changes the verdict and keeps the image's quality.

        Parameters
        ----------
        backend
            one of native; by default native
        norm
            one of spatial; by default spatial
        steps
            whole number of at least 1; by default 100
        quality
            one of ssim, psnr; by default ssim
        floor
            number of at least 0; by default 0.9
        length
            whole number from 1 to 8; by default 3
        search
            one of local, random; by default local
        feedback
            one of scores, verdicts; by default scores
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: own; the operations are perturbations of this package
        """

postprocess: _postprocess

class _rescaling_autoconjugate:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["art"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        starts: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Auto conjugate gradient with rescaled directions (ReACG), on the cross-entropy.

        Parameters
        ----------
        backend
            one of art; by default art
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 50
        starts
            whole number of at least 1; by default 1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Yamamura et al. 2024, Enhancing Output Diversity Improves Conjugate Gradient-based Adversarial Attacks, arXiv:2408.03972
        """

rescaling_autoconjugate: _rescaling_autoconjugate

class _rfgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """FGSM steps after a random sign step.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Tramèr et al. 2018, Ensemble Adversarial Training, arXiv:1705.07204
        """

rfgsm: _rfgsm

class _rotation_translation:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native"]] = ...,
        norm: _Values[Literal["spatial"]] = ...,
        max_rotation: _Values[_Number] = ...,
        max_translation: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """The worst of many random rotations and translations.

        Parameters
        ----------
        backend
            one of native; by default native
        norm
            one of spatial; by default spatial
        max_rotation
            number from 0 to 180; by default 30
        max_translation
            number from 0 to 1; by default 0.1
        steps
            whole number of at least 1; by default 30
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Engstrom et al. 2019, Exploring the Landscape of Spatial Robustness, section 3.2, arXiv:1712.02779
        """

rotation_translation: _rotation_translation

class _sigma_zero:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib"]] = ...,
        norm: _Values[Literal["l0"]] = ...,
        eps: _Values[int] = ...,
        steps: _Values[int] = ...,
        learning_rate: _Values[_Number] = ...,
        sigma: _Values[_Number] = ...,
        threshold: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """σ-zero, a minimum-norm attack on a differentiable approximation of the number of changed values.

        Parameters
        ----------
        backend
            one of adv_lib; by default adv_lib
        norm
            one of l0; by default l0
        eps
            whole number of at least 1; by default 50
        steps
            whole number of at least 1; by default 100
        learning_rate
            number of at least 1e-06; by default 1
        sigma
            number of at least 1e-06; by default 0.001
        threshold
            number from 0 to 1; by default 0.3
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Cinà et al. 2025, σ-zero: Gradient-based Optimization of l0-norm Adversarial Examples, arXiv:2402.01879
        """

sigma_zero: _sigma_zero

class _simba:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native"]] = ...,
        norm: _Values[Literal["l2", "linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """SimBA, a score-based black-box attack that changes one channel value at a time.

        Parameters
        ----------
        backend
            one of native; by default native
        norm
            one of l2, linf; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 1 in l2, 4/255 in linf
        steps
            whole number of at least 1; by default 1000
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default 0.2 in l2, 4/255 in linf
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Guo et al. 2019, Simple Black-box Adversarial Attacks, algorithm 1, arXiv:1905.07121
        """

simba: _simba

class _sinifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        scales: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Nesterov iterative FGSM over scaled copies of the image, designed for transfer; several gradients per step.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 1
        scales
            whole number of at least 1; by default 5
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Lin et al. 2020, Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks, arXiv:1908.06281
        """

sinifgsm: _sinifgsm

class _sparse_l1_descent:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["foolbox"]] = ...,
        norm: _Values[Literal["l1"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        quantile: _Values[_Number] = ...,
        random_start: _Values[bool] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Projected gradient descent in L1 with steps over the values with the largest slopes.

        Parameters
        ----------
        backend
            one of foolbox; by default foolbox
        norm
            one of l1; by default l1
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 12
        steps
            whole number of at least 1; by default 50
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        quantile
            number from 0 to 1; by default 0.99
        random_start
            True or False; by default False
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Tramèr and Boneh 2019, Adversarial Training and Robustness for Multiple Perturbations, section 4.2, arXiv:1904.13000
        """

sparse_l1_descent: _sparse_l1_descent

class _spsa:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        samples: _Values[int] = ...,
        spacing: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Score-based black-box attack, gradients estimated from random pairs of neighbours.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 20
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        samples
            whole number of at least 1; by default 32
        spacing
            length in pixel units, where a channel goes from 0 to 1; by default 0.01
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Uesato et al. 2018, Adversarial Risk and the Dangers of Evaluating Against Weak Attacks, arXiv:1802.05666
        """

spsa: _spsa

class _square:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native", "torchattacks"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        p_init: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Square, a score-based black-box attack by random search.

        Parameters
        ----------
        backend
            one of native, torchattacks; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        steps
            whole number of at least 1; by default 1000
        p_init
            number from 0.001 to 1; by default 0.8
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Andriushchenko et al. 2020, Square Attack, arXiv:1912.00049
        """

square: _square

class _superdeepfool:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """SuperDeepFool, DeepFool with projections onto the normal of the boundary, a minimum-norm attack.

        Parameters
        ----------
        backend
            one of adv_lib; by default adv_lib
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 50
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Abdolahpourrostam et al. 2024, SuperDeepFool, arXiv:2303.12481
        """

superdeepfool: _superdeepfool

class _tifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """FGSM steps with translation-smoothed gradients, designed for transfer.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 0
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Dong et al. 2019, Evading Defenses to Transferable Adversarial Examples, arXiv:1904.02884
        """

tifgsm: _tifgsm

class _tpgd:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """PGD away from the detector's own clean output (the inner step of TRADES), independent of the label.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy, arXiv:1901.08573
        """

tpgd: _tpgd

class _transfer:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object,
    ) -> Attack:
        """MI-FGSM crafted on another detector, the surrogate that the scenario names.

        Parameters
        ----------
        backend
            one of native; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255 in linf, 0.5 in l2
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 1
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Papernot, McDaniel and Goodfellow 2016, Transferability in Machine Learning, arXiv:1605.07277; Dong et al. 2018, arXiv:1710.06081
        """

transfer: _transfer

class _universal:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["native"]] = ...,
        norm: _Values[Literal["linf", "l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """One perturbation for all images of a class in a shard (256 images).

        Parameters
        ----------
        backend
            one of native; by default native
        norm
            one of linf, l2; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 8/255 in linf, 1 in l2
        steps
            whole number of at least 1; by default 20
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Shafahi et al. 2020, Universal Adversarial Training, algorithm 2, arXiv:1811.11304
        """

universal: _universal

class _vfga:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["adv_lib"]] = ...,
        norm: _Values[Literal["l0"]] = ...,
        eps: _Values[int] = ...,
        steps: _Values[int] = ...,
        samples: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Voting folded Gaussian attack, which changes the channel value whose random changes lower the score most.

        Parameters
        ----------
        backend
            one of adv_lib; by default adv_lib
        norm
            one of l0; by default l0
        eps
            whole number of at least 1; by default 50
        steps
            whole number of at least 1; by default 50
        samples
            whole number of at least 1; by default 10
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Césaire et al. 2021, Stochastic Sparse Adversarial Attacks, arXiv:2011.12423
        """

vfga: _vfga

class _vmifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        neighbours: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Momentum FGSM with variance tuning, designed for transfer; several gradients per step.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 1
        neighbours
            whole number of at least 1; by default 5
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Wang and He 2021, Enhancing the Transferability of Adversarial Attacks through Variance Tuning, arXiv:2103.15571
        """

vmifgsm: _vmifgsm

class _vnifgsm:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["torchattacks"]] = ...,
        norm: _Values[Literal["linf"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        step_size: _Values[_Number] = ...,
        decay: _Values[_Number] = ...,
        neighbours: _Values[int] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Nesterov iterative FGSM with variance tuning, designed for transfer; several gradients per step.

        Parameters
        ----------
        backend
            one of torchattacks; by default torchattacks
        norm
            one of linf; by default linf
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 4/255
        steps
            whole number of at least 1; by default 10
        step_size
            length in pixel units, where a channel goes from 0 to 1; by default auto
        decay
            number of at least 0; by default 1
        neighbours
            whole number of at least 1; by default 5
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Wang and He 2021, Enhancing the Transferability of Adversarial Attacks through Variance Tuning, arXiv:2103.15571
        """

vnifgsm: _vnifgsm

class _zoo:
    recipe: AttackRecipe
    def __call__(
        self,
        *,
        backend: _Values[Literal["art"]] = ...,
        norm: _Values[Literal["l2"]] = ...,
        eps: _Values[_Number] = ...,
        steps: _Values[int] = ...,
        coordinates: _Values[int] = ...,
        learning_rate: _Values[_Number] = ...,
        weight: _Values[_Number] = ...,
        mask: _Values[str] = ...,
        through: Sequence[Perturbation] = ...,
        eot: int = ...,
        surrogate: object = ...,
    ) -> Attack:
        """Score-based black-box attack, the C&W loss by finite differences on random channel values.

        Parameters
        ----------
        backend
            one of art; by default art
        norm
            one of l2; by default l2
        eps
            length in pixel units, where a channel goes from 0 to 1; by default 0.5
        steps
            whole number of at least 1; by default 100
        coordinates
            whole number of at least 1; by default 128
        learning_rate
            number of at least 0; by default 0.1
        weight
            number of at least 0; by default 10
        mask
            part of the image that may change: area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png; by default everything
        through
            perturbations between the attacked image and the detector, in their order; by default none
        eot
            whole number, random draws of 'through' that a gradient is averaged over; by default 1
        surrogate
            detector that the attack is crafted on; by default the attacked detector

        A list of values for a parameter is a sweep.

        Source: Chen et al. 2017, ZOO: Zeroth Order Optimization Based Black-box Attacks, arXiv:1708.03999
        """

zoo: _zoo
