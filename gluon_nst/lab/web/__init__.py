"""The lab page: two pictures, some sliders, and the composite growing while a class looks.

The server (`server`, `handlers`, `teaching`) is Tornado's, loads neither MXNet nor NumPy, and computes nothing. What a
student asks for (`asked`) becomes a ticket (`tickets`), waits in a fair line (`line`), and is carried out by a process
of its own (`worker`), which the one `Laboratory` starts and listens to. Pictures are decoded in processes of their own
too (`looking`). All that must outlive the server lies in files (`store`).
"""
