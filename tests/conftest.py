"""Shared set-up: shape annotations of the package are checked at run time in every test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

if os.environ.get("TFMLIB_SHAPE_CHECKS", "1") != "0":
    install_import_hook("tfmlib", "beartype.beartype")
