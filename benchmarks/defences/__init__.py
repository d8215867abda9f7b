"""Defences that are known to be broken, and whether ``auto`` breaks them without a hint.

    python -m benchmarks.defences [NAMES] [--limit 100] [--output FILE]

Every defence surrounds ``minigen/cifake_cnn``, which keeps no image at 2/255. The budget is 4/255 in L∞. Each defence has a
reference: an attack that is written by hand for this defence and knows everything about the defence, in plain torch.

Columns:

- ``access``: whether the detector answers with scores, or with verdicts alone. ``random``: whether answers are random.
- ``clean``, ``pgd``, ``reference``, ``auto``: accuracy in per cent, on clean images, under PGD of 50 steps, under the
  reference, and under ``auto`` with its defaults. Of the images, half are real and half are fake, so the accuracy is the
  balanced accuracy, too.
- ``pgd_gap`` and ``auto_gap``: points that PGD and ``auto`` leave above the reference.
- ``pgd_reported``, ``auto_reported``: the accuracy in the summary of the run.
- ``auto_trust``: the trust flags. ``refused: no gradients`` means that the run stopped with this message; the accuracy is
  that of the clean images.

The same rule judges every column but the reported ones: the final image on the 8-bit grid, and a fresh answer of the
detector. Of a random detector, the accuracy is the mean over ten fresh answers to each final image. The reported accuracy
of a random detector may be lower, because an attack that stops at its first success keeps lucky draws.

A new defence is a module in ``zoo`` with ``DEFENCE``. Defences that change the input train the batch norms and the last
layer of the detector on clean images (``training.py``), a few kilobytes of weights for each defence.
"""
