"""What users of mask detectors complain of most: accuracy by kind of photo, for one or more sets of answers.

    python bench/hard_kinds.py before=ANSWERS.csv after=ANSWERS.csv [--kinds bench/hard_kinds.csv]

ANSWERS.csv comes from ``allmasked predict --out`` (run in the photos' folder) or ``bench/yardstick.py --csv``. The
kinds are a list of names of photos (``kind,photo,label``), picked by eye from labelled collections that are not part of
this project; a photo is counted where every set of answers has it. Prints a Markdown table with 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from statsmodels.stats.proportion import proportion_confint


def answers(path: Path) -> dict[str, str]:
    """The answer to each photo, by its path below the photos' folder."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    said = "said" if rows and "said" in rows[0] else "label"
    name = "photo" if rows and "photo" in rows[0] else "path"
    return {row[name]: row[said] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", nargs="+", metavar="NAME=FILE.csv")
    parser.add_argument("--kinds", type=Path, default=Path(__file__).with_name("hard_kinds.csv"))
    options = parser.parse_args()
    sets = {}
    for name, _, file in (one.partition("=") for one in options.answers):
        try:
            sets[name] = answers(Path(file))
        except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
            parser.error(f"{name}={file}: holds no answers ({error}); give NAME=FILE.csv of 'allmasked predict --out'")
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with options.kinds.open(newline="") as stream:
        for row in csv.DictReader(stream):
            photo = row["photo"].removeprefix("more/")
            if all(photo in said for said in sets.values()):
                kinds[row["kind"]].append((photo, row["label"]))
    if not kinds:
        parser.error(f"{options.kinds}: none of its photos is in every set of answers")
    print(f"| kind | photos | {' | '.join(sets)} |")
    print(f"| --- | ---: | {' | '.join('---' for _ in sets)} |")
    for kind, photos in sorted(kinds.items()):
        cells = []
        for said in sets.values():
            right = sum(said[photo] == label for photo, label in photos)
            low, high = proportion_confint(right, len(photos), method="wilson")
            cells.append(f"{right / len(photos):.2f} ({low:.2f} to {high:.2f})")
        print(f"| {kind.replace('_', ' ')} | {len(photos)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
