"""Durations as text."""

from __future__ import annotations


def format_duration(seconds: float, about: bool = False) -> str:
    """Return a duration in hours, minutes and seconds.

    An estimate (`about`) of a minute or more is in whole minutes.

    >>> format_duration(7.25), format_duration(83), format_duration(9000)
    ('7.2 s', '1 min 23 s', '2 h 30 min')
    >>> format_duration(83, about=True)
    '1 min'
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if about or whole >= 3600:
        large, small, units = *divmod(round(seconds / 60), 60), ("h", "min")
    else:
        large, small, units = *divmod(whole, 60), ("min", "s")
    return " ".join(f"{number} {unit}" for number, unit in zip((large, small), units) if number)
