"""An extension of griffe, which reads the docstrings for the site: examples become blocks of code."""

import re

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)
"""An example of a docstring: from a prompt to the next empty line."""


class FencedExamples(griffe.Extension):
    """Puts the examples of docstrings between fences."""

    def on_object(self, *, obj, **others):
        """Called for each object that is documented."""
        if obj.docstring:
            text = _EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", obj.docstring.value)
            obj.docstring.value = re.sub(r" *# doctest: \+SKIP", "", text)

    on_instance = on_object  # its name before griffe 1.15
