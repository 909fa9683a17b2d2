"""EfficientNet-Lites of five blocks in place of sixteen, with random weights: built, traced and saved in far less time.

For tests of what is done with a network, whichever it is; the real ones have tests/test_backbones.py. As a program it
is the command line with them: python tests/shallow.py train ...
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from allmasked.networks import backbones


@contextmanager
def shallow() -> Iterator[None]:
    stages = ((1, 3, 2, 1, 32, 24), (1, 5, 2, 6, 24, 40), (2, 3, 2, 6, 40, 80), (1, 5, 2, 6, 80, 112))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "_LITE_STAGES", stages)
        for name, row in list(backbones.BACKBONES.items()):
            if row.package:
                changed = dataclasses.replace(
                    row, stride8_layer="block2a_project_bn", stride16_layer="block3b_add", sources=("random",),
                    width=1.0, depth=1.0,
                )  # fmt: skip
                patch.setitem(backbones.BACKBONES, name, changed)
        yield


if __name__ == "__main__":
    from allmasked.cli import main

    with shallow():
        main()
