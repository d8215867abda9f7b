"""The local page of ``robust-aigen app``: one picture, some detectors, an attack and processing."""
