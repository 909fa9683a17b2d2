"""From what a network says of a batch (:class:`allmasked.core.types.Answers`) to the answer for a photo; NumPy only."""

from __future__ import annotations

import numpy as np

from allmasked.core.types import LABELS, Answers, Candidates, Counting, FoundFace, InputSpec, Prediction, Size
from allmasked.networks import reading
from allmasked.predictors.views import Rule, counting_on_photo, on_photo, together


def prediction_of(
    name: str, answers: Answers, row: int, photo: Size, spec: InputSpec, rule: Rule = counting_on_photo
) -> Prediction:
    """The answer for one photo of a batch.

    Args:
        answers: of the batch.
        row: which photo of it.
        photo: its upright width and height in px.
        spec: the network's input.
        rule: which faces count, given the model's own rule; that one as it stands by default.
    """
    four = four_of(answers, row)
    if answers.members:
        found, counting = together(answers.members, row, photo, rule)
        own = together(answers.members, row, photo)[1]
    elif answers.faces is not None:
        found, counting = on_photo(answers.faces[row], photo, spec), rule(answers.counting, photo, spec)
        own = counting_on_photo(answers.counting, photo, spec)
    else:
        nobody = None if answers.nobody is None else float(answers.nobody[row])
        label = LABELS[int(np.argmax(four if nobody is not None else four[:3]))]
        return Prediction(name, label, (four[0], four[1], four[2]), p_nobody=nobody)
    # the members voted by their own rule; under another the answer is read off their faces
    voted = four if answers.voted and counting == own else None
    return prediction_from(name, found, counting, voted, photo)


def four_of(answers: Answers, row: int) -> tuple[float, float, float, float]:
    """Probabilities of all, none, some and nobody of one photo of a batch."""
    nobody = 0.0 if answers.nobody is None else float(answers.nobody[row])
    p_all, p_none, p_some = (answers.probabilities[row].astype(float) * (1 - nobody)).tolist()
    return p_all, p_none, p_some, nobody


def prediction_from(
    name: str,
    found: Candidates,
    counting: Counting,
    four: tuple[float, float, float, float] | None = None,
    photo: Size | None = None,
) -> Prediction:
    """The answer that candidates give, in px of the photo.

    Args:
        found: each face once.
        counting: which of them count, in px of the photo.
        four: probabilities of the four labels where they come from a vote; those of the faces when None.
        photo: its width and height in px, which the boxes told are cut to.
    """
    found = reading.counted(found, counting)
    count = int(found.counts.sum())
    voted = None if four is None else reading.possible(four, count)
    answer = reading.answer_of(found, counting.some_factor) if voted is None else voted
    p_all, p_none, p_some, nobody = answer.tolist()
    label = reading.label_of((p_all, p_none, p_some, nobody), count)
    wears = reading.kinds(found, label)
    faces = []
    for row, (wear, reason) in enumerate(zip(wears, reading.reasons(found, counting))):
        if wear < 0 and (found.counts[row] or found.score[row] < reading.SHOWN):
            continue
        masked = bool(wear == 1 or (wear < 0 and found.masked[row] >= 0.5))
        left, top, right, bottom = np.clip(found.boxes[row], 0, [*photo, *photo] if photo else np.inf).tolist()
        faces.append(
            FoundFace(
                "masked" if masked else "bare", float(found.score[row]), left, top, right, bottom,
                float(found.masked[row]), not reason, reason,
            )
        )  # fmt: skip
    return Prediction(name, label, (p_all, p_none, p_some), p_nobody=nobody, faces=tuple(faces))
