"""``allmasked demo``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo", context_settings={"show_default": True})
@click.option(
    "--out", default="demo", type=click.Path(path_type=Path, file_okay=False), help="Folder for all that is made."
)
@click.option("--photos", default=600, type=click.IntRange(60), help="How many photos to paint.")
@click.option("--seed", default=0, help="Seed of everything random.")
def demo_command(out: Path, photos: int, seed: int) -> None:
    """Go through the whole job on painted photos: inspect, split, train, evaluate, predict, explain, report.

    Takes a few minutes on a laptop. Interrupted (Ctrl-C), it goes on when started again.
    """
    from allmasked.cli import cli, demo

    def command(arguments: list[str]) -> int:
        code = cli.main(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0

    scores = demo.tour(out, command, photos=photos, seed=seed)
    low, high = scores.accuracy_interval
    span = f"(95 % interval {low:.3f} to {high:.3f}) on {scores.photos} held-out photos"
    click.echo(f"test accuracy {scores.accuracy:.3f} {span}")
    click.echo(f"data:        {out / 'inspect.html'}")
    click.echo(f"predictions: {out / 'predictions.csv'}")
    click.echo(f"heat maps:   {out / 'explained' / 'grid.png'}")
    click.echo(f"report:      {(out / 'run' / 'report.html').resolve()}")
