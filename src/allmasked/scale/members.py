"""Members of an ensemble trained side by side, each a task of Ray in a process of its own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from allmasked.core.config import TrainConfig
from allmasked.core.errors import AllmaskedError, ConfigError, RunError, expect
from allmasked.core.progress import bar, tell
from allmasked.core.runs import Run
from allmasked.core.types import Split
from allmasked.ensembles.sweep import Members, runs_of
from allmasked.scale.engines import RETRIES, cluster, result_of
from allmasked.training.train import train


def train_members(
    split: Split,
    members: Members,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    address: str | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
) -> dict[str, Run]:
    """As :func:`allmasked.ensembles.sweep.train_members`, as many members at a time as the cluster has room for.

    Each is trained by one task, in the same run folder with the same result as one after the other. A task whose worker
    dies is done again, and goes on after the last epoch that its run folder has.

    Args:
        cache: see :func:`allmasked.training.train.train`.
        address: see :func:`allmasked.scale.engines.cluster`.
        cpus: processors of a member; all that a machine of the cluster has when None.
        gpus: graphics cards of a member, such as 0.5; one where the cluster has any when None.

    Raises:
        RunError: see :func:`allmasked.ensembles.sweep.runs_of`; or members have failed. The others are finished first.
        ConfigError: no machine of the cluster has what a member needs.
        MissingExtraError: Keras is not installed here (extra ``train``).
    """
    expect("keras", "train")
    runs = runs_of(split, members, out)
    missing = [name for name, run in runs.items() if not run.finished]
    if not missing:
        return runs
    with cluster(address) as ray:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = cpus or int(max(machine.get("CPU", 1) for machine in machines))
        gpus = min(1, max(machine.get("GPU", 0) for machine in machines)) if gpus is None else gpus
        if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
            raise ConfigError(
                f"--cpus-per-member {cpus} --gpus-per-member {gpus:g}: no machine of the cluster has as much; give less"
            )
        # each in a process of its own: Keras gives what it has taken back to nobody
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=1)(_train)
        shared = ray.put(split)
        tasks = {
            task.remote(shared, members[name], runs[name].folder.resolve(), cache, Path.cwd(), cpus): name
            for name in missing
        }
        return _awaited(ray, tasks, runs, members)


def _awaited(ray: Any, tasks: dict[Any, str], runs: dict[str, Run], members: Members) -> dict[str, Run]:
    """The runs once all tasks have ended, with the epochs of all on one bar."""
    failed: dict[str, str] = {}
    total = sum(config.recipe.head_epochs + config.recipe.epochs for config in members.values())
    with bar(transient=False) as progress:
        task = progress.add_task("epochs", total=total, note="")
        while tasks:
            ended, _ = ray.wait(list(tasks), timeout=1)
            for one in ended:
                name = tasks.pop(one)
                try:
                    result_of(ray.get, one)
                    tell(f"{name}: finished")
                except AllmaskedError as error:
                    failed[name] = str(error)
                    tell(f"{name}: {error}")
            note = f"{len(tasks)} of {len(runs)} members to go"
            progress.update(task, completed=sum(len(run.history()) for run in runs.values()), note=note)
    if failed:
        raise RunError(f"{', '.join(failed)}: could not be trained; what is done is kept: start it again")
    return runs


def _train(split: Split, config: TrainConfig, folder: Path, cache: str | Path | None, here: Path, cpus: int) -> None:
    """In a worker: paths are those of the process that asked."""
    with contextlib.suppress(OSError):
        os.chdir(here)
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(cpus)  # TensorFlow would take all
    train(split, config, folder, resume=True, cache=cache)
