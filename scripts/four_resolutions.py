"""Paint a picture at four resolutions, in separate runs.

python scripts/four_resolutions.py CONTENT STYLE FOLDER
"""

import sys
from pathlib import Path

import gluon_nst as nst


def main(content, style, folder, sides=(256, 512, 1024, 2048), **options):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for side in sides:
        result = nst.transfer(content, style, sizes=side, observers=[nst.observers.Bar()], **options)
        path = Path(folder) / f"{Path(content).stem}-{side}.png"
        result.save(path)
        print(f"{path}: total loss {result.loss:.4g}, {result.seconds:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
