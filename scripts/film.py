"""Paint a film in the style of a picture, frame by frame, with its sound. FOLDER keeps the frames, to resume.
python scripts/film.py FILM STYLE FOLDER OUT.mp4
"""

import sys
from pathlib import Path

from gluon_nst import batch, cluster, images

import imageio_ffmpeg as ffmpeg
import pooch
from PIL import Image


def main(film, style, folder, out, **options):
    own = pooch.file_hash(str(film))[:12]  # folders for each film
    frames, painted = Path(folder) / f"frames-{own}", Path(folder) / f"painted-{own}"
    frames.mkdir(parents=True, exist_ok=True)
    about = next(reader := ffmpeg.read_frames(str(film)))
    for number, pixels in enumerate(reader):
        Image.frombytes("RGB", about["size"], pixels).save(frames / f"{number:06}.png")
    entries = batch.sequence(frames, style, **{"sizes": 512, **options})
    with batch.OverviewBar() as view, batch.Batch(entries, painted, view) as jobs:
        with cluster.Pool(workers=1) as pool:  # each frame depends on the one before it, so one worker has all cores
            list(jobs.run(pool))
        outcomes = [jobs.outcomes[entry.name] for entry in entries]
    if not all(outcome.path for outcome in outcomes):
        sys.exit("some frames could not be painted; repeat the command to resume")
    sound, size = about.get("audio_codec") and str(film), images.open_picture(outcomes[0].path).image.size
    writer = ffmpeg.write_frames(str(out), size, fps=about["fps"], macro_block_size=2, audio_path=sound or None)
    writer.send(None)
    for outcome in outcomes:
        writer.send(images.open_picture(outcome.path).flattened().image.tobytes())
    writer.close()
    print(f"{out}: {len(outcomes)} frames")


if __name__ == "__main__":  # the worker processes import this file
    main(*sys.argv[1:])
