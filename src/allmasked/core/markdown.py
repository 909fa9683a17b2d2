"""Markdown for the terminal and for files beside the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table and an empty one; fractions get four digits, counts thousands commas."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.4f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    body = [[cell(value) for value in row] for row in rows]
    bar = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, bar, *body)] + [""]
