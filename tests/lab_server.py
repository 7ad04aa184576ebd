"""A running lab server, and students who send requests without a browser."""

import contextlib
import html
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import requests
from PIL import Image

from painting import paint

SMALL = {"content": "mountains", "styles": [["autumn-oaks", 1]], "recipe": "d2l-2019", "side": 64, "epochs": 3}
"""A run that takes less time than the start of its process."""
LONG = {**SMALL, "epochs": 1000, "side": 96}
"""A run that does not finish during a test."""

WITHOUT_MEASURING = """
import sys
from gluon_nst.cli.main import command
from gluon_nst.lab.web.laboratory import Laboratory

async def measure_speed(lab):
    lab.scheduler.estimator.set_rates({})

Laboratory.measure_speed = measure_speed
command()
"""
"""The command without timing the recipes, which occupies a core for ten seconds."""


def free_port():
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Lab:
    """The command `gluon-nst lab` with a folder, a free port, and options.

    `before` is a prefix of the command; with `measured` the lab times the recipes. `lines` are its output.
    """

    def __init__(self, folder, *options, before=(), path="", measured=False, **environment):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}{path}"
        program = ["-m", "gluon_nst"] if measured else ["-c", WITHOUT_MEASURING]
        self._command = [*before, sys.executable, "-W", "ignore", *program, "lab", "--dir", str(folder)]
        self._command += ["--port", str(self.port), *map(str, options)]
        self._environment = {**os.environ, **environment}

    def open(self):
        """Start the lab, and wait until it prints its addresses."""
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("teacher:"):
                break
        lines, stdout = self.lines, self.process.stdout
        self.output = threading.Thread(target=lambda: lines.extend(map(str.rstrip, stdout)), daemon=True)
        self.output.start()
        self.addresses = [line.split()[-1] for line in self.lines if line.startswith(("students:", "teacher:"))]
        assert self.addresses, self.lines
        return self

    def close(self, number=signal.SIGINT):
        """Send Ctrl-C, or another signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(90)

    def kill(self):
        """Kill the server."""
        self.process.kill()
        self.process.wait()

    @property
    def memory(self):
        """The resident memory of the server, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) * 1024

    def workers(self):
        """Return the processes of the active runs, by the folder of the run."""
        pids = {}
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
                if "gluon_nst.lab.web.worker" in " ".join(words) and str(self.folder) in words[-2]:
                    pids[words[-2]] = int(pid)
        return pids

    def __enter__(self):
        return self.open()

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.close(signal.SIGTERM)


class Student:
    """A student: a signed-in session with its cookies and XSRF token."""

    def __init__(self, lab, timeout=None, **joining):
        self.lab, self.session = lab, requests.Session()
        if joining:
            form = self.session.get(f"{lab.url}/join").text
            token = html.unescape(re.search(r'name="_xsrf" value="([^"]+)"', form).group(1))
            page = self.session.post(f"{lab.url}/join", data={"_xsrf": token, **joining})
        else:
            page = self.session.get(f"{lab.url}/", timeout=timeout)
        self.data = json.loads(re.search(r'id="data">(.*?)</script>', page.text, re.DOTALL).group(1))
        self.session.headers["X-XSRFToken"] = self.data["xsrf"]

    def get(self, path, **options):
        """GET a path of the lab."""
        return self.session.get(f"{self.lab.url}/{path}", **options)

    def post(self, path, values=None, **options):
        """POST JSON to a path of the lab."""
        return self.session.post(f"{self.lab.url}/{path}", json=values, **options)

    def upload(self, content, name="a.png"):
        """Upload the bytes of a file."""
        return self.session.post(f"{self.lab.url}/pictures", data=content, headers={"X-Name": name})

    def start(self, **asked):
        """Request a run; return its id."""
        answer = self.post("runs", {**SMALL, **asked})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def runs(self):
        """Return all runs of the student by id, from the first event of the stream."""
        with self.get("events", stream=True, headers={"Accept": "text/event-stream"}) as stream:
            assert stream.status_code == 200, stream.text
            for line in stream.iter_lines():
                if line.startswith(b"data: "):
                    return {run["id"]: run for run in json.loads(line[6:])["runs"]}
        return {}

    def wait(self, name, *statuses, seconds=120, until=lambda run: True):
        """Wait until a run has one of the statuses and `until(run)` is true; return the run."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            run = self.runs().get(name, {})
            if run.get("status") in statuses and until(run):
                return run
            time.sleep(0.1)
        raise AssertionError(f"{name} is {run} and not {statuses}: {self.lab.lines}")


def png(height=60, width=90, seed=1, **options):
    """Return the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(paint(height, width, seed)).save(file, "PNG", **options)
    return file.getvalue()
