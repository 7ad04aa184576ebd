"""Measure the flicker of films: differences of neighbouring frames along the optical flow.

    python scripts/dev/measure_frames.py [FOLDER]

Compares `batch --sequence` with frames painted independently. The frames are kept in the folder; takes about ten
minutes.
"""

import sys
from pathlib import Path

from gluon_nst import batch, cluster
from gluon_nst.pictures import optical_flow
from gluon_nst.weights import pictures

import numpy as np
from PIL import Image

FRAMES, SIDE = 6, 300


def film(folder):
    """Write frames of a moving camera over the bundled landscape, with a moving object in it."""
    content, style = (Image.open(path).convert("RGB") for path in pictures.own_pictures())
    scene, thing = content.resize((900, 900 * content.height // content.width)), style.resize((90, 90))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FRAMES):
        right, down = 20 + 7 * number, 10 + 2 * number
        frame = scene.crop((right, down, right + 600, down + 400))
        frame.paste(thing, (100 + 20 * number, 250 - 5 * number))
        frame.resize((300, 200), Image.Resampling.LANCZOS).save(folder / f"{number:03}.png")


def painted(entries, folder, workers):
    """Run the jobs; return the paths of their pictures, in order."""
    with batch.OverviewBar() as view, batch.Batch(entries, folder, view) as jobs:
        if jobs.left:
            with cluster.Pool(workers=workers) as pool:
                list(jobs.run(pool))
        return [jobs.outcomes[entry.name].path for entry in entries]


def differences(originals, results):
    """Return the mean absolute difference of each result from the previous one, warped by the flow.

    Only pixels with consistent flow are compared.
    """
    gaps = []
    for number in range(1, FRAMES):
        here, there = (np.asarray(Image.open(originals[each]).convert("RGB")) for each in (number, number - 1))
        new, old = (np.asarray(Image.open(results[each]).convert("RGB")) for each in (number, number - 1))
        back, forth = optical_flow.flow(here, there), optical_flow.flow(there, here)
        gap = np.abs(optical_flow.warped(old, back).astype(float) - new)
        gaps.append(gap[optical_flow.consistent(back, forth)].mean())
    return np.array(gaps)


def main(folder="frames-measured"):
    folder, (_, style) = Path(folder), pictures.own_pictures()
    film(folder / "frames")
    originals = sorted((folder / "frames").glob("*.png"))
    separate = painted(batch.pairs(folder / "frames", style, sizes=SIDE), folder / "separate", None)
    followed = painted(batch.sequence(folder / "frames", style, sizes=SIDE), folder / "sequence", 1)
    for name, results in (("independent frames", separate), ("in sequence", followed)):
        each = differences(originals, results)
        print(f"{name}: {each.mean():.2f} of 255 ({', '.join(f'{gap:.2f}' for gap in each)})")


if __name__ == "__main__":  # the worker processes import this file
    main(*sys.argv[1:])
