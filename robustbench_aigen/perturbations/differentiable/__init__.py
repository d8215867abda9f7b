"""Differentiable stand-ins of perturbations, for the gradients of adaptive attacks.

A stand-in is a function ``(pixels, **params)``, or ``(pixels, streams, **params)`` for a random perturbation, with
the real operation's parameters: N×3×H×W float32 pixels in [0, 1] in, on any device, and float32 pixels of the shape
that the real operation gives out. It is for gradients alone: verdicts are always given on the real operation.

Where an operation is linear or smooth, its stand-in computes the same without the rounding to 8 bits at the end.
Where it rounds inside (JPEG, resizing) or draws counts (Poisson), the forward pass does what the real one does and
the gradient is an approximation (Athalye, Carlini and Wagner 2018, section 4.1, BPDA). A recipe names its stand-in by
``differentiable:``; one that only moves pixels names the real function, which takes floats as well.
"""
