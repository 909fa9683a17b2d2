"""What an ensemble's early stop saves, and that it changes no answer.

    python bench/ensemble.py ENSEMBLE [--on validation] [--photos 200] [--repeats 3] [--data DIR] [--kept]

ENSEMBLE is a folder of ``allmasked ensemble`` whose vote has an early stop (majority, soft, weighted). The photos of
the part are decoded once; then every member answers about every photo (full), and the members are asked in turn until
the answer can't change (early), in one process, the two after one another, ``--repeats`` times. Prints a Markdown
table: members asked a photo, ms a photo of both (median; networks and vote, no decoding), their ratio, the ratio that
the members' own times promise, and how many labels differ (none). ``--kept`` uses the answers that ``evaluate`` kept
instead of the networks: members asked and promised ratio only, for any number of photos, in a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ensemble", type=Path)
    parser.add_argument("--on", default="validation", choices=["train", "validation", "test"])
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kept", action="store_true")
    options = parser.parse_args()

    import numpy as np

    from allmasked.core.runs import Run
    from allmasked.data.dataset import read_split
    from allmasked.ensembles.assemble import members_say
    from allmasked.predictors.ensemble import Ensemble, EnsemblePredictor
    from allmasked.predictors.predictor import open_predictor
    from allmasked.predictors.views import read_views
    from allmasked.stats.votes import cost_ratio

    run = Run(options.ensemble)
    ensemble = Ensemble.read(run)
    if ensemble.row.settled is None:
        parser.error(f"the vote {ensemble.vote!r} has no early stop")

    def table(asked: np.ndarray, differing: int, full: float | None, early: float | None) -> None:
        promised = cost_ratio(asked, ensemble.order, ensemble.milliseconds)
        print("| vote | photos | members asked | full, ms | early, ms | ratio | promised ratio | labels that differ |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        measured = [f"{full:.1f}", f"{early:.1f}", f"{early / full:.3f}"] if full and early else ["-", "-", "-"]
        members = f"{asked.mean():.2f} of {len(ensemble.members)}"
        cells = [ensemble.vote, str(len(asked)), members, *measured, f"{promised:.3f}", str(differing)]
        print("| " + " | ".join(cells) + " |")

    said = members_say(ensemble.folders(run), options.on, options.data).own
    whole, _ = ensemble.ask(said.shape[1], lambda member, rows: said[member, rows], early=False)
    answers, asked = ensemble.ask(said.shape[1], lambda member, rows: said[member, rows], early=True)
    differing = int((whole.argmax(1) != answers.argmax(1)).sum())
    if options.kept:
        table(asked, differing, None, None)
        return

    predictor = open_predictor(run.folder)
    assert isinstance(predictor, EnsemblePredictor)
    split = read_split(run.split, options.data)
    photos = split.part(options.on)[: options.photos]
    read = [read_views(predictor.views, split.root / photo.path, photo.path)[1] for photo in photos]
    views = [np.stack(view) for view in zip(*read)]
    predictor.answer_views([view[:32] for view in views], early=False)  # compiles
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.repeats):
        for early in (False, True):
            began = time.perf_counter()
            for start in range(0, len(photos), 32):
                predictor.answer_views([view[start : start + 32] for view in views], early=early)
            times[early].append(1000 * (time.perf_counter() - began) / len(photos))
    table(asked, differing, statistics.median(times[False]), statistics.median(times[True]))


if __name__ == "__main__":
    main()
