"""Photos of no one, for training the model that ships: pictures that packages bring, and painted empty places.

    python scripts/nobody.py OUT [--painted 150] [--seed 0]

Writes OUT/nobody/*.jpg, to be given to ``allmasked extend``. The pictures are those of scikit-image (public domain or
CC0, see its data/README.txt) and scikit-learn (china.jpg, flower.jpg: CC BY), less the two that show a person.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image

from allmasked.runs import replacing
from allmasked.scenes import draw_empty

SHOW_PEOPLE = {"astronaut", "camera"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--painted", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.out / "nobody"
    folder.mkdir(parents=True, exist_ok=True)
    brought = [
        *sorted(Path(skimage.__file__).parent.joinpath("data").glob("*.[pj][np]g")),
        *sorted(Path(sklearn.datasets.__file__).parent.joinpath("images").glob("*.jpg")),
    ]
    for path in brought:
        if path.stem not in SHOW_PEOPLE:
            with replacing(folder / f"{path.stem}.jpg") as temporary:
                Image.open(path).convert("RGB").save(temporary, quality=92)
    for number in range(options.painted):
        with replacing(folder / f"painted-{number:04d}.jpg") as temporary:
            Image.fromarray(draw_empty(np.random.default_rng([options.seed, number]))).save(temporary, quality=90)
    print(f"{folder}: {len(list(folder.glob('*.jpg')))} photos of no one")


if __name__ == "__main__":
    main()
