"""The commands of `python -m tfmlib`, and what they share: one clear line for bad input."""

import argparse
import os
import sys
from collections.abc import Sequence

from tfmlib import __version__
from tfmlib.cli import translation


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0, 2 for bad input, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tfmlib", description="Train and use the models of the book."
    )
    parser.add_argument("--version", action="version", version=f"tfmlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    translation.add_commands(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        print("tfmlib:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tfmlib: interrupted", file=sys.stderr)
        return 130
    return 0
