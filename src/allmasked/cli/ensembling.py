"""``allmasked ensemble`` and ``allmasked distil``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from allmasked.cli import options as opt
from allmasked.cli.scoring import show
from allmasked.cli.training import HelpBelowHeadings, head_option, recipe_option, recipe_options, train_config
from allmasked.networks.backbones import BACKBONES
from allmasked.stats.votes import VOTES


@click.command("ensemble")
@click.argument("runs", nargs=-1, required=True, type=opt.PATH, metavar="RUN RUN...")
@click.option("--vote", default="soft", type=click.Choice(list(VOTES)),
              help="; ".join(f"{row.name}: {row.help}" for row in VOTES.values()) + ".")  # fmt: skip
@click.option("--out", required=True, type=opt.PATH, metavar="DIR", help="The ensemble's folder to make.")
@click.option("--early-stop", is_flag=True,
              help="Ask no further member about a photo whose answer can't change any more (not with stacked, and not"
              " where all runs have the head evidence).")  # fmt: skip
@opt.data
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


@click.command("distil", cls=HelpBelowHeadings)
@click.argument("teacher", type=opt.PATH, metavar="ENSEMBLE")
@opt.new_run
@click.option("--backbone", default="EfficientNetLite0", type=click.Choice(list(BACKBONES)), help="Student's backbone.")
@head_option
@recipe_option
@click.option("--weights", default="", metavar="imagenet|random|package|FILE|RUN", show_default=False,
              help="As for train.")  # fmt: skip
@opt.seed
@click.option("--alpha", default=0.3, type=opt.SHARE, help="Share of the label in the loss.")
@click.option("--temperature", default=2.0, type=opt.FiniteRange(0.1, 100), help="Softens the answers learnt from.")
@click.option("--on", default="validation", type=opt.HELD_OUT, help="Part to show student and teacher side by side on.")
@opt.data
@opt.cache
@recipe_options
def distil_command(
    teacher: Path, out: Path, on: str, alpha: float, temperature: float, data: Path | None, cache: Path | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Train one small student from the soft answers of ENSEMBLE (or of a run) on the training photos.

    The student is an ordinary run folder. The same command goes on where it was stopped. Ends with student and teacher
    side by side: accuracy, ms a photo, MB.
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
