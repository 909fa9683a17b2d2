"""``allmasked ensemble`` and ``allmasked distil``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from allmasked.cli.numbers import FiniteRange
from allmasked.cli.scoring import show
from allmasked.cli.training import HelpBelowHeadings, head_option, recipe_option, recipe_options, train_config
from allmasked.networks.backbones import BACKBONES
from allmasked.stats.votes import VOTES

FOLDER = click.Path(path_type=Path)
data_option = click.option("--data", type=FOLDER, metavar="DIR", help="Where the photos lie now, if they have moved.")


@click.command("ensemble", context_settings={"show_default": True})
@click.argument("runs", nargs=-1, required=True, type=FOLDER, metavar="RUN RUN...")
@click.option(
    "--vote",
    default="soft",
    type=click.Choice(list(VOTES)),
    help="; ".join(f"{row.name}: {row.help}" for row in VOTES.values()) + ".",
)
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="The ensemble's folder to make.")
@click.option(
    "--early-stop",
    is_flag=True,
    help="Ask no further member about a photo whose answer can't change any more (not with stacked, and not "
    "where all runs have the head evidence).",
)
@data_option
def ensemble_command(runs: tuple[Path, ...], vote: str, out: Path, early_stop: bool, data: Path | None) -> None:
    """Let RUNs that were trained on the same split answer together.

    Members may differ in backbone, head, size and data loader. Each gets a temperature, and the vote its weights or
    its stacker, from the validation part. predict, explain, evaluate, compare, distil and report take the folder
    wherever they take a run. Prints the members and all votes on validation.
    """
    from allmasked.ensembles.assemble import assemble, markdown

    ensemble = assemble(runs, out, vote, early_stop=early_stop, data=data)
    show(markdown(out.name, ensemble))
    click.echo(f"next: allmasked evaluate {out}", err=True)


@click.command("distil", cls=HelpBelowHeadings, context_settings={"show_default": True})
@click.argument("teacher", type=FOLDER, metavar="ENSEMBLE")
@click.option("--out", required=True, type=FOLDER, help="The student's run folder to make.")
@click.option("--backbone", default="EfficientNetLite0", type=click.Choice(list(BACKBONES)), help="Student's backbone.")
@head_option
@recipe_option
@click.option("--weights", default="", metavar="imagenet|random|package|FILE|RUN", help="As for train.")
@click.option("--seed", default=0, help="Seed of everything random.")
@click.option("--alpha", default=0.3, type=FiniteRange(0, 1), help="Share of the label in the loss.")
@click.option("--temperature", default=2.0, type=FiniteRange(0.1, 100), help="Softens the answers learnt from.")
@click.option(
    "--on",
    default="validation",
    type=click.Choice(["validation", "test"]),
    help="Part to show student and teacher side by side on.",
)
@data_option
@click.option("--cache", type=FOLDER, help="Folder for decoded photos; the user's cache folder otherwise.")
@recipe_options
def distil_command(
    teacher: Path, out: Path, on: str, alpha: float, temperature: float, data: Path | None, cache: Path | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Train one small student from the soft answers of ENSEMBLE (or of a run) on the training photos.

    The student is an ordinary run folder. If it is stopped, `allmasked train --resume --out RUN` goes on. Ends with
    student and teacher side by side: accuracy, ms a photo, MB.
    """
    from allmasked.cli.estimates import tell_training
    from allmasked.data.dataset import read_split
    from allmasked.ensembles.distil import beside, distil, markdown

    config = train_config(loader="cached", **settings)
    if (teacher / "split.json").is_file():
        tell_training(read_split(teacher / "split.json", data), config)
    distil(teacher, config, out, alpha=alpha, temperature=temperature, data=data, cache=cache)
    show(markdown(beside(teacher, out, on, data=data), on))
    click.echo(f"next: allmasked compare {teacher} {out}", err=True)
