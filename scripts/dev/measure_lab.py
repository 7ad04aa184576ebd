"""Measure the lab's server with a class that starts at the same time, and with many silent connections.

- class: thirty students each request a run within a second; the estimates are compared with the measured times.
- silent: 1,500 connections that send nothing, with a limit of 1,024 files; the response time for a new student, the
  memory, and the number of log lines.

python scripts/dev/measure_lab.py [class] [silent]
"""

import contextlib
import json
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psutil
import requests

STUDENTS, CONNECTIONS, FILES = 30, 1500, 1024
RUN = {"content": "mountains", "styles": [["autumn-oaks", 1]], "recipe": "d2l-2019", "side": 128, "epochs": 20}


class Lab:
    """A lab in a `folder`; `log` has its output."""

    def __init__(self, folder, *options, files=None):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        command = [sys.executable, "-W", "ignore", "-m", "gluon_nst", "lab", "--dir", folder, "--port", str(self.port)]
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        self.url, self.log = f"http://127.0.0.1:{self.port}/", []
        self.process = subprocess.Popen(
            [*command, "--preload", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=limit,
        )
        for line in self.process.stdout:
            self.log.append(line)
            if line.startswith("ready"):  # the recipes are timed
                break
        threading.Thread(target=lambda: self.log.extend(self.process.stdout), daemon=True).start()

    @property
    def memory(self):
        """The resident memory of the server, in megabytes."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait()


def student(lab):
    """Return the session of a new student."""
    session = requests.Session()
    page = session.get(lab.url, timeout=60).text
    session.headers["X-XSRFToken"] = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))[
        "xsrf"
    ]
    return session


def runs_of(lab, session):
    """Return the runs of a student, from the first event of the stream."""
    with session.get(f"{lab.url}events", stream=True, timeout=60) as events:
        return json.loads(next(line for line in events.iter_lines() if line.startswith(b"data: "))[6:])["runs"]


def spread(name, ratios):
    """Print the smallest, the median and the largest of some ratios."""
    ratios = sorted(ratios)
    print(f"{name}: {ratios[0]:.2f} to {ratios[-1]:.2f}, median {statistics.median(ratios):.2f}", flush=True)


def start_together(folder):
    with Lab(folder, "--workers", "2") as lab:
        sessions = [student(lab) for _ in range(STUDENTS)]
        begun, estimates, waits, took = time.monotonic(), {}, {}, {}
        for session in sessions:
            run = session.post(f"{lab.url}runs", json=RUN, timeout=60)
            assert run.status_code == 201, run.text
        print(f"{STUDENTS} runs requested within {time.monotonic() - begun:.2f} s", flush=True)
        began, requested, shown = {}, begun, []
        while len(took) < STUDENTS:
            for session in sessions:
                if session in took:
                    continue
                (run,), now = runs_of(lab, session), time.monotonic()
                if run["status"] == "waiting":
                    estimates.setdefault(session, []).append(run["left"])
                    waits.setdefault(session, (run["starts"], now))
                elif run["status"] == "working":
                    began.setdefault(session, now)
                else:
                    assert run["status"] == "complete", run
                    took[session] = now - began.get(session, begun)
            form = sessions[0].post(f"{lab.url}expected", json=RUN, timeout=60).json()["sides"]["128"]
            assert form["allowed"]
            shown.append(form["seconds"])
            time.sleep(0.5)
        print(
            f"all {len(took)} served after {time.monotonic() - requested:.0f} s;"
            f" a run took {statistics.median(took.values()):.1f} s"
        )
        spread(
            "estimate of a run while it waits / what it took",
            [each / took[of] for of in estimates for each in estimates[of]],
        )
        spread("estimate in the form / what a run took", [each / statistics.median(took.values()) for each in shown])
        waited = {of: began[of] - at for of, (_, at) in waits.items() if began.get(of, 0) - at > 10}
        spread(
            "estimated wait after the request / the wait, of those above 10 s",
            [waits[of][0] / waited[of] for of in waited],
        )


def stay_silent(folder):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Lab(folder, files=FILES) as lab, contextlib.ExitStack() as opened:
        memory, lines = lab.memory, len(lab.log)
        student(lab)
        for _ in range(CONNECTIONS):
            opened.enter_context(socket.create_connection(("127.0.0.1", lab.port), timeout=60))
        cpu, slowest = psutil.Process(lab.process.pid).cpu_times().user, 0.0
        for second in range(41):
            before = time.monotonic()
            student(lab)
            slowest = max(slowest, time.monotonic() - before)
            if second % 10 == 0:
                print(
                    f"{second} s: page within {slowest:.3f} s, {lab.memory - memory:+.1f} MB,"
                    f" {len(lab.log) - lines} lines",
                    flush=True,
                )
            time.sleep(1)
        print(f"the server computed for {psutil.Process(lab.process.pid).cpu_times().user - cpu:.1f} s of these 41")


if __name__ == "__main__":
    for what in sys.argv[1:] or ("class", "silent"):
        with tempfile.TemporaryDirectory() as place:
            {"class": start_together, "silent": stay_silent}[what](place)
