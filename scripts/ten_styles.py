"""Paint a picture in every style of a folder, and draw a labelled sheet.

python scripts/ten_styles.py CONTENT STYLES FOLDER
"""

import sys

from gluon_nst import batch, cluster, figures, images


def main(content, styles, folder, columns=5, workers=None, **options):
    entries = batch.pairs(content, styles, **{"sizes": 512, **options})
    with batch.OverviewBar() as view, batch.Batch(entries, folder, view) as jobs:
        if jobs.left:
            with cluster.Pool(workers=workers) as pool:
                list(jobs.run(pool))
        cells = [figures.Cell(images.open_picture(content).flattened().image, "content")]
        for entry in entries:
            outcome = jobs.outcomes[entry.name]
            picture = images.open_picture(outcome.path).flattened().image if outcome.path else None
            cells.append(figures.Cell(picture, entry.name, "" if picture else outcome.note))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    sheet = jobs.folder.path / "sheet.png"
    figures.save(figures.sheet(rows, title=f"{len(entries)} styles"), sheet)
    print(f"look at {sheet}")


if __name__ == "__main__":  # the worker processes import this file
    main(*sys.argv[1:])
