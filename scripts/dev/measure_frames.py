"""How far neighbouring frames differ along the flow: of a film that `batch --sequence` paints, and of frames that are
painted each by itself.

    python scripts/dev/measure_frames.py [FOLDER]

It keeps its frames in the folder, and takes about ten minutes.
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
    """A camera that moves over the project's landscape, and something that moves in it."""
    content, style = (Image.open(path).convert("RGB") for path in pictures.own_pictures())
    scene, thing = content.resize((900, 900 * content.height // content.width)), style.resize((90, 90))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(FRAMES):
        right, down = 20 + 7 * number, 10 + 2 * number
        frame = scene.crop((right, down, right + 600, down + 400))
        frame.paste(thing, (100 + 20 * number, 250 - 5 * number))
        frame.resize((300, 200), Image.Resampling.LANCZOS).save(folder / f"{number:03}.png")


def painted(entries, folder, workers):
    """The paths of the results, in their order."""
    with batch.OverviewBar() as view, batch.Batch(entries, folder, view) as jobs:
        if jobs.left:
            with cluster.Pool(workers=workers) as pool:
                list(jobs.run(pool))
        return [jobs.outcomes[entry.name].path for entry in entries]


def differences(originals, results):
    """The mean absolute difference of each result from the one before it, as things have moved, where the flow can be
    trusted."""
    found = []
    for number in range(1, FRAMES):
        here, there = (np.asarray(Image.open(originals[each]).convert("RGB")) for each in (number, number - 1))
        new, old = (np.asarray(Image.open(results[each]).convert("RGB")) for each in (number, number - 1))
        back, forth = optical_flow.flow(here, there), optical_flow.flow(there, here)
        gap = np.abs(optical_flow.warped(old, back).astype(float) - new)
        found.append(gap[optical_flow.consistent(back, forth)].mean())
    return np.array(found)


def main(folder="frames-measured"):
    folder, (_, style) = Path(folder), pictures.own_pictures()
    film(folder / "frames")
    originals = sorted((folder / "frames").glob("*.png"))
    apart = painted(batch.pairs(folder / "frames", style, sizes=SIDE), folder / "apart", None)
    followed = painted(batch.sequence(folder / "frames", style, sizes=SIDE), folder / "sequence", 1)
    for name, results in (("each by itself", apart), ("in sequence", followed)):
        each = differences(originals, results)
        print(f"{name}: {each.mean():.2f} of 255 ({', '.join(f'{gap:.2f}' for gap in each)})")


if __name__ == "__main__":  # the workers are processes that import this file
    main(*sys.argv[1:])
