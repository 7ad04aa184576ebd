"""Recipes: their schema, the published programs' files, and changes of recipes.

The package does not import MXNet.
"""

from gluon_nst.recipes.changes import customise, fit, follow_optimizer, style_shape
from gluon_nst.recipes.choices import ACTIVATION_SCALES, INITS, OPTIMIZERS, PRECISIONS, SOURCES
from gluon_nst.recipes.files import (
    CHAPTER,
    COMPARED,
    DEFAULT,
    PUBLISHED,
    RECONSTRUCTION,
    RecipeName,
    names,
    of_dict,
    paths,
    read,
    text,
)
from gluon_nst.recipes.schema import LONGEST_SIDE, Change, Recipe, Setting, Stage, recipe_settings, setting, settings
from gluon_nst.recipes.written import as_toml

__all__ = [
    "ACTIVATION_SCALES",
    "CHAPTER",
    "COMPARED",
    "DEFAULT",
    "INITS",
    "LONGEST_SIDE",
    "OPTIMIZERS",
    "PRECISIONS",
    "PUBLISHED",
    "RECONSTRUCTION",
    "SOURCES",
    "Change",
    "Recipe",
    "RecipeName",
    "Setting",
    "Stage",
    "as_toml",
    "customise",
    "fit",
    "follow_optimizer",
    "names",
    "of_dict",
    "paths",
    "read",
    "recipe_settings",
    "setting",
    "settings",
    "style_shape",
    "text",
]
