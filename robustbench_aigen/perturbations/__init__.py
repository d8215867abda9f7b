"""Label-free image processing, one family per module.

A perturbation is a function ``(levels, **params)``, or ``(levels, streams, **params)`` where its recipe says
``random: true``: N×3×H×W uint8 images of one size (and their random streams) in, N×3×H'×W' uint8 images out. A
recipe in ``attacks/`` names the function and declares its parameters.
"""
