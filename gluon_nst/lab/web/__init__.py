"""The lab page: a class starts runs and watches their composites in the browser.

- The HTTP server is Tornado (`server`, `connections`). It loads neither MXNet nor NumPy and computes nothing.
- The request handlers are in `student_handlers`, `picture_handlers` and `teacher_handlers`, on `base_handler`.
- `request_bodies` validates what a browser sends, `authentication` the passwords, `limits` has the limits.
- `Laboratory` holds the students, pictures and runs (`models`), which `store` keeps on disk.
- `scheduler` starts a process (`worker`, `publisher`) for each run, in the order of `fair_queue`; `estimates`
  predicts durations.
- Uploaded pictures are decoded (`picture_check`) and films made (`film`) in subprocesses, too (`processes`).
- `events` notifies the pages of changes; `texts` has the texts and the data of their controls.
"""
