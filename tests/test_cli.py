import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import gluon_nst as nst
from gluon_nst import cli, pictures, runtime, training
from gluon_nst import recipe as recipes

import mxnet as mx
import pytest
from PIL import Image

from test_images import BAD_PICTURES


@pytest.fixture
def render(content, style, weights_file, tmp_path, capfd):
    """Run `gluon-nst render` on the small pictures; gives the status, standard output and standard error."""

    def run(*options, content=content, style=style, output=tmp_path / "out.png", small=True):
        arguments = ["render", str(content), str(style), "--output", str(output), "--weights", str(weights_file)]
        if small:
            arguments += ["--sizes", "32x48,48x64", "--epochs", "3,2"]
        capfd.readouterr()
        status = cli.main([*arguments, *map(str, options)])
        return (status, *capfd.readouterr())

    return run


@pytest.fixture
def refuses(render, tmp_path):
    """Check that a run ends with status 2 and one line `error: …` with the message in it, and writes nothing."""

    def check(message, *options, **changed):
        before = sorted(os.listdir(tmp_path))
        status, out, err = render(*options, **changed)
        assert status == 2 and out == ""
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
        assert message in err
        assert sorted(os.listdir(tmp_path)) == before

    return check


# -- render -----------------------------------------------------------------------------------------------------------


def test_render_writes_the_picture_and_the_losses(render, tmp_path):
    status, out, err = render("--losses", tmp_path / "losses.csv")
    assert status == 0 and "out.png: 48 x 64, total loss" in out
    assert Image.open(tmp_path / "out.png").size == (64, 48)
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 1 + 5
    assert "48x64 epoch 2/2" in err and "100%" in err


def test_quiet_shows_no_progress(render):
    status, _, err = render("--quiet")
    assert status == 0 and err == ""


def test_render_twice_gives_the_same_bytes(render, tmp_path):
    render("--init", "noise", "--seed", "4", output=tmp_path / "1.png")
    render("--init", "noise", "--seed", "4", output=tmp_path / "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_every_option_reaches_the_recipe(render, tmp_path):
    options = "--lr 0.5 --optimizer lbfgs --precision float32 --tolerance 1e-9 --content-weight 2 --style-weight 30 --tv-weight 4 --device cpu"
    assert render("--recipe", "d2l-2023", "--init", "style", "--seed", "7", *options.split())[0] == 0
    made = json.loads(Image.open(tmp_path / "out.png").text["gluon-nst"])
    recipe = made["recipe"]
    assert (recipe["content_weight"], recipe["style_weight"], recipe["tv_weight"]) == (2, 30, 4)
    assert recipe["init"] == "style" and made["seed"] == 7
    assert (recipe["optimizer"], recipe["precision"], recipe["tolerance"]) == ("lbfgs", "float32", 1e-9)
    assert [(s["size"], s["epochs"], s["lr"], s["lr_decay"]) for s in recipe["stages"]] == [
        ([32, 48], 3, 0.5, 0.8),
        ([48, 64], 2, 0.5, 0.8),
    ]


def test_every_change_of_a_recipe_has_an_option():
    arguments = cli.build_parser().parse_args(["render", "a", "b", "--output", "c.png"])
    for name in (*inspect.signature(recipes.customise).parameters, "seed", "weights"):
        assert getattr(arguments, name) is None  # what is not given is left to `transfer`
    defaults = {name: parameter.default for name, parameter in inspect.signature(nst.transfer).parameters.items()}
    assert (defaults["recipe"], defaults["seed"], defaults["weights"]) == (recipes.DEFAULT, 0, "auto")  # as --help says
    assert arguments.device == defaults["device"]


@pytest.mark.parametrize("which", ["content", "style"])
@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_refused(refuses, tmp_path, which, kind):
    make, message = BAD_PICTURES[kind]
    bad = tmp_path / "bad.png"
    make(bad)
    refuses(f"error: {bad}: {message}", **{which: bad})


def obeying_permissions(command):
    """Run `command` so that even root has to obey file modes; skips where that can't be had."""
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may read everything, and setpriv (util-linux) is not here to take that away")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_picture_without_permission_is_refused(content, style, tmp_path, weights_file):
    style.chmod(0)
    command = [sys.executable, "-m", "gluon_nst", "render", content, style, "--output", tmp_path / "out.png"]
    run = obeying_permissions(command)
    assert run.returncode == 2
    assert run.stderr == f"error: {style}: no permission to read it; check its mode and owner\n"
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_an_output_folder_without_permission_is_refused_before_the_run(content, style, tmp_path, mode):
    folder = tmp_path / "closed"
    folder.mkdir(mode=mode)
    command = [sys.executable, "-m", "gluon_nst", "render", content, style, "--output", folder / "out.png"]
    run = obeying_permissions(command)
    assert run.returncode == 2 and os.listdir(folder) == []
    assert run.stderr == f"error: {folder / 'out.png'}: can't write there (Permission denied); choose another folder\n"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sizes", "32x48,15x48"], "size 15x48: too small for the network"),
        (["--sizes", "32"], "'32' is not HEIGHTxWIDTH"),
        (["--sizes", "32x48,"], "is not HEIGHTxWIDTH"),
        (["--sizes", "-32x48"], "size"),
        (["--epochs", "0"], "epochs: 0 is not an integer of at least 1"),
        (["--epochs", "many"], "'many' is not a number of epochs"),
        (["--epochs", "1,2,3"], "epochs: 3 numbers for 2 sizes"),
        (["--lr", "-1"], "lr: -1.0 is not a number above 0"),
        (["--lr", "fast"], "--lr: invalid float value: 'fast'"),
        (["--style-weight", "nan"], "style_weight: nan is not a number"),
        (["--seed", "-1"], "seed -1"),
        (["--device", "tpu"], "device tpu: not auto, cpu, gpu or gpu:N"),
        (["--device", "gpu:²"], "device gpu:²: not auto"),
        (["--device", "gpu:99"], "device gpu:99: MXNet sees"),
        (["--recipe", "d2l-1066"], "recipe d2l-1066: not one of d2l-2019, d2l-2023"),
        (["--recipe", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--init", "nowhere.png"], "nowhere.png: no such file"),
        (["--optimizer", "magic"], "invalid choice: 'magic'"),
        (["--precision", "float16"], "invalid choice: 'float16'"),
        (["--tolerance", "-1"], "tolerance: -1.0 is not a number of at least 0"),
        (["--sizes", "30000x40000,32x48"], "size 30000x40000: needs about "),
        (["--weights", "nowhere.params"], "nowhere.params"),
        (["--weights", "n" * 300], "no such file"),
        (["--recipe", f"{__file__}/x.toml"], "no such file"),
        (["--losses", "/nowhere/losses.csv"], "/nowhere/losses.csv: there is no folder /nowhere"),
        (["--what"], "unrecognized arguments: --what"),
    ],
)
def test_a_bad_argument_is_refused(refuses, options, message):
    refuses(message, *options)


@pytest.mark.parametrize(
    "name, message",
    [
        ("out.gif", "must end with .png or .jpg or .jpeg"),
        ("nowhere/out.png", "there is no folder"),
        (".", "must end with .png"),
        ("content.png", "is one of the run's inputs"),
        ("fifo.png", "not a regular file"),
        ("dangling.png", "not a regular file"),
        ("n" * 250 + ".png", "can't write there (File name too long)"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused(refuses, tmp_path, name, message):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    refuses(message, output=tmp_path / name)


def test_an_output_must_not_be_another_file_of_the_run(refuses, tmp_path, weights_file):
    recipe = tmp_path / "my.toml"
    recipe.write_text(recipes.text("d2l-2019"))
    refuses("or another output", "--losses", tmp_path / "out.png")
    refuses("is one of the run's inputs", "--recipe", recipe, "--losses", recipe)
    refuses("is one of the run's inputs", "--losses", weights_file)


def test_a_full_disk_is_one_line_that_names_the_file(render, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    status, _, err = render("--quiet")
    assert status == 1 and err.startswith(
        f"error: {tmp_path / 'out.png'}: can't write it (No space left on device); free"
    )
    assert sorted(os.listdir(tmp_path)) == ["content.png", "style.png"]


def test_a_failed_run_is_status_1_and_writes_nothing(render, tmp_path):
    status, _, err = render("--lr", "1e30", "--quiet")
    assert status == 1 and err.startswith("error: stage 1, epoch 1: the loss is") and err.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_no_command_is_one_line(capfd):
    assert cli.main([]) == 2
    assert capfd.readouterr().err == "error: the following arguments are required: COMMAND; see gluon-nst --help\n"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_the_picture_so_far(content, style, tmp_path, weights_file, stop):
    losses = tmp_path / "losses.csv"
    command = [sys.executable, "-m", "gluon_nst", "render", content, style, "--output", tmp_path / "out.png"]
    command += ["--weights", weights_file, "--losses", losses, "--sizes", "64x96", "--epochs", "100000"]
    run = subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    started = b""
    while b"epoch" not in started:  # the bar has begun, so the first epoch is done
        started += run.stderr.read(1)
    time.sleep(0.5)
    run.send_signal(stop)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and b"interrupted: stage 1," in err and b"Traceback" not in err
    with Image.open(tmp_path / "out.png") as picture:
        done = json.loads(picture.text["gluon-nst"])["interrupted"]["epochs"]
    assert len(losses.read_text().splitlines()) == 1 + done > 1
    assert sorted(os.listdir(tmp_path)) == ["content.png", "losses.csv", "out.png", "style.png"]


def test_an_interrupt_before_the_first_epoch_writes_nothing(render, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gluon_nst.weights.find", stop)
    status, _, err = render("--quiet")
    assert (status, err) == (130, "interrupted: nothing was written\n") and not (tmp_path / "out.png").exists()


@pytest.fixture
def stopped(monkeypatch):
    """Have a run be stopped, as by Ctrl-C, after so many epochs."""

    def after(epochs):
        take, calls = training.Objective.__call__, []

        def stop(self):
            calls.append(1)
            if len(calls) > epochs:
                raise KeyboardInterrupt
            return take(self)

        monkeypatch.setattr(training.Objective, "__call__", stop)

    return after


def test_a_stopped_run_leaves_a_finished_picture_where_it_is(render, tmp_path, stopped):
    output, losses, film = tmp_path / "out.png", tmp_path / "losses.csv", tmp_path / "film.gif"
    options = ["--losses", losses, "--animate", film, "--quiet"]
    assert render(*options)[0] == 0
    finished = {path: path.read_bytes() for path in (output, losses, film)}
    for number, name in enumerate(("interrupted", "interrupted-2")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.Objective, "__call__", training.Objective.__call__)
            stopped(2)
            status, out, err = render(*options)
        assert status == 130 and {path: path.read_bytes() for path in finished} == finished
        assert f"{output}: left as it was; the run that did not end is in {tmp_path}/out-{name}.png" in err
        with Image.open(tmp_path / f"out-{name}.png") as picture:
            assert json.loads(picture.text["gluon-nst"])["interrupted"] == {"stage": 1, "epochs": 2}
        assert len((tmp_path / f"losses-{name}.csv").read_text().splitlines()) == 3
        assert (tmp_path / f"film-{name}.gif").exists()


def test_a_stopped_chapter_leaves_a_finished_one_where_it_is(weights_file, content, style, tmp_path, stopped):
    options = ["--content", content, "--style", style, "--epochs", "2"]
    assert chapter(weights_file, tmp_path / "out", *options) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    stopped(3)
    assert chapter(weights_file, tmp_path / "out", *options) == 130
    assert {path: path.read_bytes() for path in before} == before
    beside = {
        "losses-interrupted.csv",
        "losses-interrupted.png",
        "neural-style-1-interrupted.png",
        "neural-style-2-interrupted.png",
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in before} | beside


def test_a_run_whose_memory_runs_out_keeps_what_it_has(render, tmp_path, monkeypatch):
    take, calls = training.Objective.__call__, []

    def run_out(self):
        calls.append(1)
        if len(calls) == 5:
            raise mx.MXNetError("Failed to allocate CPU Memory")
        return take(self)

    monkeypatch.setattr(training.Objective, "__call__", run_out)
    status, out, err = render("--quiet")
    assert status == 1 and "out.png: 48 x 64" in out
    assert err.splitlines()[0] == "error: size 48x64: the memory ran out; choose a smaller size, or end other programs"
    with Image.open(tmp_path / "out.png") as picture:
        assert json.loads(picture.text["gluon-nst"])["interrupted"] == {"stage": 2, "epochs": 1}


def test_memory_that_runs_out_at_once_is_one_line(render, tmp_path, monkeypatch):
    def run_out(*_, **__):
        raise MemoryError

    monkeypatch.setattr("gluon_nst.job.get_contents", run_out)
    status, out, err = render("--quiet")
    assert (status, out) == (1, "") and not (tmp_path / "out.png").exists()
    assert err == "error: size 32x48: the memory ran out; choose a smaller size, or end other programs\n"


@pytest.mark.parametrize("make, kind", [(os.mkfifo, "a named pipe"), (lambda path: _socket(path), "a socket")])
@pytest.mark.parametrize("place", ["content", "style", "--init", "--recipe", "--weights"])
def test_what_is_no_regular_file_is_refused_wherever_it_is_read(refuses, tmp_path, make, kind, place):
    name = {"--recipe": "odd.toml", "--weights": "odd.params"}.get(place, "odd.png")
    make(tmp_path / name)
    if place in ("content", "style"):
        refuses(f"{name}: {kind}, not a picture", **{place: tmp_path / name})
    else:
        refuses(f"{name}: {kind}, not a", place, tmp_path / name)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as unix, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # a socket's path is short
        unix.bind(path.name)


@pytest.mark.parametrize("place", ["content", "style", "--init", "--recipe", "--weights"])
def test_a_device_is_refused(refuses, tmp_path, place):
    device = tmp_path / {"--recipe": "device.toml"}.get(place, "device.png")
    device.symlink_to("/dev/null")
    if place in ("content", "style"):
        refuses(f"{device}: a device, not a picture", **{place: device})
    else:
        refuses(f"{device}: a device, not a", place, device)


def test_the_home_folder_can_be_named_with_a_tilde(content, style, weights_file, tmp_path, monkeypatch, capfd):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for path, name in ((content, "c.png"), (style, "s.png"), (content, "x.png"), (weights_file, "w.params")):
        shutil.copy(str(path), str(home / name))
    (home / "my.toml").write_text('extends = "d2l-2019"\n[[stages]]\nsize = [32, 48]\nepochs = 2\n')
    options = "--output=~/o.png --init=~/x.png --recipe=~/my.toml --losses=~/l.csv --animate=~/f.gif --weights=~/w.params --quiet"
    assert cli.main(["render", "~/c.png", "~/s.png", *options.split()]) == 0, capfd.readouterr().err
    assert {"o.png", "l.csv", "f.gif"} <= set(os.listdir(home))
    out = ["--out=~/new/chapter", "--content=~/c.png", "--style=~/s.png", "--recipe=~/my.toml", "--weights=~/w.params"]
    assert cli.main(["chapter", *out]) == 0 and (home / "new/chapter/neural-style-1.png").exists()
    swept = ["--vary", "lr=0.1", "--out=~/sweep", "--figure=~/sheet.svg", "--recipe=~/my.toml", "--weights=~/w.params"]
    assert cli.main(["sweep", "~/c.png", "~/s.png", *swept]) == 0
    assert (home / "sweep/lr=0.1.png").exists() and (home / "sheet.svg").exists()
    result = nst.transfer("~/c.png", "~/s.png", recipe="~/my.toml", weights="~/w.params", init="~/x.png")
    result.save("~/p.png")
    result.save_losses("~/p.csv")
    result.save_plot("~/p.svg")
    assert nst.read_image("~/p.png").shape == (32, 48, 3) and {"p.csv", "p.svg"} <= set(os.listdir(home))
    assert cli.main(["recipes", "~/my.toml"]) == 0


def test_a_name_that_begins_with_a_tilde_is_a_name(content, style, weights_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content.rename("~c.png")
    arguments = [
        "render",
        "~c.png",
        str(style),
        "--output",
        "~o.png",
        "--weights",
        str(weights_file),
        "--sizes",
        "32x48",
        "--epochs",
        "1",
    ]
    assert cli.main(arguments) == 0 and (tmp_path / "~o.png").exists()


def test_a_reader_that_goes_away_is_no_error(weights_file, content, style, tmp_path):
    def run(*command):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing) as nobody:
            return subprocess.run(
                [sys.executable, "-m", "gluon_nst", *map(str, command)], stdout=nobody, stderr=subprocess.PIPE
            )

    for command in (["recipes"], ["recipes", "d2l-2019"], ["--help"], ["weights", "list"]):
        done = run(*command)
        assert done.stderr == b"" and done.returncode == 0
    options = [
        "--content",
        content,
        "--style",
        style,
        "--weights",
        weights_file,
        "--sizes",
        "32x48",
        "--epochs",
        "60",
        "--quiet",
    ]
    done = run("chapter", *options, "--out", tmp_path / "out")
    assert done.stderr == b"" and done.returncode == 0 and (tmp_path / "out/neural-style-1.png").exists()


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_a_run_does_not_end_for_want_of_a_place_for_its_progress(content, style, weights_file, tmp_path, stream):
    options = f"--output {tmp_path}/out.png --weights {weights_file} --sizes 32x48 --epochs 2"
    line = f"{sys.executable} -m gluon_nst render {content} {style} {options} {stream}"
    assert (
        subprocess.run(["bash", "-c", line], stdout=subprocess.DEVNULL).returncode == 0
        and (tmp_path / "out.png").exists()
    )


@pytest.mark.skipif(
    "avx512bw" not in runtime.processor_flags(), reason="MXNet has bfloat16 only on processors with AVX-512"
)
@pytest.mark.parametrize("instructions", ["", "AVX512_CORE", "AVX512_CORE_BF16"])
def test_bfloat16_runs_with_every_set_of_instructions(content, style, weights_file, tmp_path, instructions):
    # oneDNN has other kernels, and other layouts, for each; a mistake in one of them ends the process.
    command = [
        "render",
        content,
        style,
        "--output",
        tmp_path / "out.png",
        "--weights",
        weights_file,
        "--sizes",
        "32x48,48x64",
    ]
    command = [
        sys.executable,
        "-m",
        "gluon_nst",
        *map(str, command),
        "--epochs",
        "2",
        "--precision",
        "bfloat16",
        "--quiet",
    ]
    environment = {**os.environ, "DNNL_MAX_CPU_ISA": instructions}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0 and done.stderr == b"" and (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "closed, out, err", [(">&-", b"", b""), ("2>&-", b"d2l-2019", b""), ("> /dev/full", b"", b"error: the run failed")]
)
def test_a_standard_stream_that_can_not_be_written_is_no_traceback(closed, out, err):
    line = f"{sys.executable} -m gluon_nst recipes {closed}"
    done = subprocess.run(["bash", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout.startswith(out) and done.stderr.startswith(err) and b"Traceback" not in done.stderr


def test_what_needs_no_mxnet_does_not_load_it():
    for argv in (
        ["--help"],
        ["render", "--help"],
        ["--version"],
        ["recipes"],
        ["recipes", "fast"],
        ["render", "--what"],
        [],
    ):
        code = f"""
import sys
from gluon_nst import cli
try:
    cli.main({argv!r})
except SystemExit:
    pass
heavy = {{"mxnet", "numpy", "PIL", "matplotlib", "scipy", "requests", "h5py"}} & set(sys.modules)
assert not heavy, heavy
"""
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)


@pytest.mark.parametrize("seconds", [0, 0.1, 0.3, 0.6])
def test_ctrl_c_while_mxnet_loads_is_no_traceback(seconds):
    run = subprocess.Popen(
        # It says what it imports: the first thing that a command does is to load what it needs.
        [sys.executable, "-X", "importtime", "-m", "gluon_nst", "render", "a.png", "b.png", "--output", "never.png"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while b"tqdm" not in run.stderr.readline():
        assert run.poll() is None
    time.sleep(seconds)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    # It may have come to its end, an error, before the signal. Where Ctrl-C met an `exec`, Python ends by the signal itself,
    # which a shell tells as 130 too.
    assert b"Traceback" not in err and run.returncode in (130, -signal.SIGINT, 2)


# -- chapter ----------------------------------------------------------------------------------------------------------


def chapter(weights_file, out, *options):
    small = ["--sizes", "32x48,48x64", "--epochs", "103,2", "--quiet"]
    return cli.main(["chapter", "--out", str(out), "--weights", str(weights_file), *small, *map(str, options)])


def test_chapter_writes_its_files_and_prints_the_chapters_lines(weights_file, content, style, tmp_path, capfd):
    assert chapter(weights_file, tmp_path / "out", "--content", content, "--style", style) == 0
    assert sorted(os.listdir(tmp_path / "out")) == [
        "losses.csv",
        "losses.png",
        "neural-style-1.png",
        "neural-style-2.png",
    ]
    sizes = [Image.open(tmp_path / f"out/neural-style-{number}.png").size for number in (1, 2)]
    assert sizes == [(48, 32), (64, 48)] and Image.open(tmp_path / "out/losses.png").width > 400
    lines = capfd.readouterr().out.splitlines()
    number = r"\d+\.\d\d"
    for line, epoch in zip(lines, (" 50", "100")):
        assert re.fullmatch(
            f"epoch {epoch}, content loss {number}, style loss {number}, TV loss {number}, {number} sec", line
        )


def test_chapter_prints_where_the_learning_rate_changes(weights_file, content, style, tmp_path, capfd):
    options = ["--content", content, "--style", style, "--edition", "2023", "--sizes", "32x48", "--epochs", "53"]
    assert chapter(weights_file, tmp_path / "out", *options) == 0
    lines = [line.split(",")[0] for line in capfd.readouterr().out.splitlines()]
    assert lines[:6] == ["epoch  10", "epoch  20", "epoch  30", "epoch  40", "change lr to 7.2e-01", "epoch  50"]
    assert sorted(os.listdir(tmp_path / "out")) == ["losses.csv", "losses.png", "neural-style-1.png"]


def test_chapter_uses_the_projects_own_pictures(weights_file, tmp_path, capfd):
    assert chapter(weights_file, tmp_path, "--epochs", "1") == 0
    assert "using the project's own pictures" in capfd.readouterr().err
    assert all(path.is_file() for path in pictures.own_pictures())


@pytest.mark.parametrize(
    "options, message",
    [
        (["--content", "a.png"], "--content and --style go together"),
        (["--style", "a.png"], "--content and --style go together"),
        (["--content", "a.png", "--style", "b.png"], "a.png: no such file"),
        (["--content", "a.png", "--style", "b.png", "--book-images"], "--book-images is for a run without"),
        (["--edition", "2019", "--recipe", "d2l-2019"], "give one of them"),
        (["--edition", "1999"], "invalid choice: '1999'"),
    ],
)
def test_chapter_refuses_bad_arguments(weights_file, tmp_path, capfd, options, message):
    assert chapter(weights_file, tmp_path / "out", *options) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_chapter_refuses_a_folder_that_can_not_be_made(weights_file, content, style, tmp_path, capfd):
    assert chapter(weights_file, content / "out", "--content", content, "--style", style) == 2
    assert "there is no folder" in capfd.readouterr().err
    (content.parent / "dangling").symlink_to("nowhere")
    assert chapter(weights_file, content.parent / "dangling", "--content", content, "--style", style) == 2
    assert "not a folder" in capfd.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["content.png", "dangling", "style.png"]


# -- the other commands -----------------------------------------------------------------------------------------------


def test_recipes_lists_them_with_their_sources(capfd):
    assert cli.main(["recipes"]) == 0
    out = capfd.readouterr().out
    assert "d2l-2019" in out and "d2l-2023" in out and out.count("https://d2l.ai/") == 2
    for source in ("udacity/deep-learning-v2-pytorch", "symoon94", "blog.tensorflow.org", "10.1109/CVPR.2016.265"):
        assert source in out


def test_recipes_prints_one_that_can_be_run(render, tmp_path, capfd):
    assert cli.main(["recipes", "d2l-2023"]) == 0
    (tmp_path / "my.toml").write_text(capfd.readouterr().out)
    assert recipes.read(tmp_path / "my.toml") == recipes.read("d2l-2023")


def test_info_tells_versions_device_and_cores(capfd):
    assert cli.main(["info"]) == 0
    out = capfd.readouterr().out
    assert f"gluon-nst {nst.__version__}" in out and "mxnet 1.9.1" in out and "device " in out and "cores " in out
    for source in ("model-zoo", "caffe", "torchvision", "pypi"):
        assert source in out


def test_weights_list_shows_every_source(capfd):
    assert cli.main(["weights", "list"]) == 0
    out = capfd.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[::2]] == ["model-zoo", "caffe", "torchvision", "pypi"]


def test_weights_path_refuses_an_unknown_source(capfd):
    assert cli.main(["weights", "path", "caffeine"]) == 2
    assert "invalid choice: 'caffeine'" in capfd.readouterr().err


def test_weights_path_says_what_to_do_where_there_are_none(capfd):
    assert cli.main(["weights", "path", "caffe"]) == 1
    assert capfd.readouterr().err == "error: weights caffe: not here; run gluon-nst weights fetch, or import a file\n"


def test_version(capfd):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0 and capfd.readouterr().out == f"gluon-nst {nst.__version__}\n"


# -- watching a run ---------------------------------------------------------------------------------------------------


def test_a_run_can_be_watched(render, tmp_path):
    status, out, err = render("--save-every", 2, "--animate", tmp_path / "film.gif", "--show", "--quiet")
    assert status == 0 and err == "no screen: --show shows nothing here\n"
    assert f"{tmp_path / 'film.gif'}: the film of the run" in out
    written = ["film.gif", "out-stage-1-epoch-2.png", "out-stage-2-epoch-2.png", "out.png"]
    assert sorted(os.listdir(tmp_path)) == sorted(["content.png", "style.png", *written])
    with Image.open(tmp_path / "out.png") as result, Image.open(tmp_path / "out-stage-2-epoch-2.png") as last:
        assert result.tobytes() == last.tobytes()
        assert json.loads(last.text["gluon-nst"])["recipe"] == json.loads(result.text["gluon-nst"])["recipe"]
    assert Image.open(tmp_path / "film.gif").n_frames == 5


def test_chapter_keeps_its_snapshots_in_its_folder(weights_file, content, style, tmp_path):
    options = ["--content", content, "--style", style, "--sizes", "32x48", "--epochs", "6", "--save-every", "3"]
    assert chapter(weights_file, tmp_path / "out", *options) == 0
    names = [
        "losses.csv",
        "losses.png",
        "neural-style-1.png",
        "neural-style-stage-1-epoch-3.png",
        "neural-style-stage-1-epoch-6.png",
    ]
    assert sorted(os.listdir(tmp_path / "out")) == names


@pytest.mark.parametrize(
    "options, message",
    [
        (["--save-every", "0"], "'0' is not a number of epochs of at least 1"),
        (["--save-every", "often"], "'often' is not a number of epochs"),
        (["--animate", "film.avi"], "film.avi: the name must end with .gif or .webp or .mp4"),
        (["--animate", "nowhere/film.gif"], "there is no folder"),
        (["--longest-side", "100"], "not allowed with argument --sizes"),
        (["--content-layers", "conv9_1"], "content_layers: ['conv9_1'] is not different layers of VGG-19"),
        (["--style-layers", ""], "style_layers: [''] is not different layers"),
        (["--style-size", "big"], "'big' is not content"),
    ],
)
def test_bad_ways_to_watch_and_to_customise_are_refused(refuses, options, message):
    refuses(message, *options)


def test_a_snapshot_must_not_overwrite_an_input(refuses, content, tmp_path):
    taken = tmp_path / "out-stage-1-epoch-2.png"
    content.rename(taken)
    refuses("is one of the run's inputs", "--save-every", "2", content=taken)


def test_the_longest_side_keeps_the_contents_shape(render, tmp_path):
    assert render("--longest-side", "48", "--epochs", "2", small=False)[0] == 0
    assert Image.open(tmp_path / "out.png").size == (48, 32)  # of a content picture of 60 x 90


def test_a_snapshot_or_a_film_in_whose_place_is_a_folder_is_refused(refuses, tmp_path):
    (tmp_path / "out-stage-1-epoch-2.png").mkdir()
    (tmp_path / "film.gif").mkdir()
    refuses("out-stage-1-epoch-2.png: a folder", "--save-every", "2")
    refuses("film.gif: a folder", "--animate", tmp_path / "film.gif")


def test_a_snapshot_that_can_not_be_written_does_not_end_the_run(render, tmp_path, monkeypatch):
    def full(*_, **__):
        raise nst.NSTError("out-stage-1-epoch-1.png: can't write it (No space left on device)")

    monkeypatch.setattr("gluon_nst.watching.write_image", full)
    status, out, err = render("--save-every", "1", "--quiet")
    assert status == 0 and "out.png: 48 x 64" in out and (tmp_path / "out.png").exists()
    assert err == "out-stage-1-epoch-1.png: can't write it (No space left on device); the run goes on without\n"


def test_an_interrupt_while_the_film_is_made_keeps_the_picture(render, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gluon_nst.figures.film", stop)
    status, _, err = render("--animate", tmp_path / "film.gif", "--quiet")
    assert (status, err) == (130, f"interrupted: what is in {tmp_path} is whole, the rest is not written\n")
    assert sorted(os.listdir(tmp_path)) == ["content.png", "out.png", "style.png"]


def test_chapter_makes_the_folder_of_its_film(weights_file, content, style, tmp_path):
    options = ["--content", content, "--style", style, "--sizes", "32x48", "--epochs", "2"]
    assert chapter(weights_file, tmp_path / "new", *options, "--animate", tmp_path / "new/film.gif") == 0
    assert (tmp_path / "new/film.gif").is_file()
