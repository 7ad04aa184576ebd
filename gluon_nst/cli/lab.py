"""The commands notebook, doctor, lab and kit. Only kit loads MXNet."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import shlex
import sys
import webbrowser
from typing import Any

from gluon_nst.errors import InputError
from gluon_nst.lab import doctor as examination
from gluon_nst.lab import notebooks
from gluon_nst.machine.files import cache_folder


def notebook(arguments: argparse.Namespace) -> int:
    """gluon-nst notebook."""
    path = notebooks.place_notebook(arguments.name, arguments.out)
    print(path)
    print(f"open it:              jupyter lab {shlex.quote(str(path))}")
    print(f"or run it as it is:   jupyter nbconvert --to html --execute {shlex.quote(str(path))}")
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Run `gluon-nst doctor`: print each finding; return 1 if the lab would fail."""
    findings = []
    try:
        for finding in examination.examine():
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            print(f"{finding.level:<5}  {finding.name:<9}  {finding.detail}{remedy}", flush=True)
            findings.append(finding)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("not everything was looked at") from None
    faults = [finding.level for finding in findings].count(examination.FAULT)
    if faults:
        print(f"not ready: {faults} fault{'s' * (faults > 1)}, see above")
    elif any(finding.level == examination.SLOW and finding.name == "weights" for finding in findings):
        print("ready for a lab that has a network: the weights are still to be fetched")
    else:
        print("ready for the lab")
    return 1 if faults else 0


def lab(arguments: argparse.Namespace) -> int:
    """gluon-nst lab: run the server until it is interrupted."""
    from gluon_nst.lab.web.limits import Limits
    from gluon_nst.lab.web.server import Settings, serve

    limits = {field.name: getattr(arguments, f"max_{field.name}") for field in dataclasses.fields(Limits)}
    settings = Settings(
        arguments.dir or cache_folder("lab"),
        arguments.host,
        arguments.port,
        arguments.base_url,
        arguments.password,
        arguments.workers,
        arguments.keep,
        arguments.preload,
        arguments.texts,
        arguments.weights,
        Limits(**{name: value for name, value in limits.items() if value is not None}),
    )
    # Only on a local desktop: without a display, webbrowser would open a browser in the terminal.
    wanted = settings.is_local and sys.stdout.isatty() and not arguments.no_browser
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    on_open = webbrowser.open if wanted and display else str
    resuming = asyncio.run(serve(settings, lambda line: print(line, flush=True), on_open))
    runs = f"{resuming} run{'s resume' if resuming > 1 else ' resumes'}" if resuming else "everything is kept"
    raise KeyboardInterrupt(f"{runs} when the same command opens the lab again")


def kit(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """gluon-nst kit."""
    from gluon_nst.lab.kit import make
    from gluon_nst.observers import Bar

    folders = [each for each in (arguments.folder, arguments.output) if each is not None]
    if len(folders) != 1:
        raise InputError(f"kit: {'two folders' if folders else 'no folder'}; name the one in which it is made")
    with Bar() as bar:
        path = make(folders[0], notify=bar.note, progress=bar.download, counting=bar.counting)
    install = shlex.quote(f"{path.name}/install")
    print(f"{path}: carry it to a machine without a network, and run there: bash {install}")
    return 0
