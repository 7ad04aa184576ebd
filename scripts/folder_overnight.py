"""Paint every picture of a folder in every style of another. Finished jobs are not repeated; a report lists failures.

python scripts/folder_overnight.py CONTENTS STYLES FOLDER [SCHEDULER]
"""

import sys

from gluon_nst import batch, cluster


def main(contents, styles, folder, scheduler=None, workers=None, **options):
    entries = batch.pairs(contents, styles, **{"sizes": 1024, **options})
    with batch.OverviewBar() as view, batch.Batch(entries, folder, view) as jobs:
        if jobs.left:
            with cluster.Pool(scheduler, workers) as pool:
                for _ in jobs.run(pool):
                    batch.write_report(jobs)  # updated after each job
        print(f"look at {batch.write_report(jobs)}")


if __name__ == "__main__":  # the worker processes import this file
    main(*sys.argv[1:])
