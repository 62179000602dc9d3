"""The command line: `litcache`, with a module of `litcache.commands` for each command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from litcache import __version__
from litcache.commands import check, clear, export, import_, info, plan, verify, warm
from litcache.commands.results import FAILED, INTERRUPTED, WRONG, printable
from litcache.errors import StoreError

_COMMANDS = {
    "check": check,
    "info": info,
    "clear": clear,
    "verify": verify,
    "export": export,
    "import": import_,
    "warm": warm,
    "plan": plan,
}

_EPILOG = """
exit codes: 0 done; 1 verify or export found corrupt entries, a file is damaged, check has findings,
or warm got other answers than 2xx; 2 the command is wrong, or check cannot look at the class; 3
there is no such store, namespace or file, it does not answer, not all was stored, or the result
cannot be written; 130 it was interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, such as `litcache info`.

    Args:
        arguments: The words after the command's name; by default those of this process.

    Returns:
        The exit code: 0 when done; 1 if `verify` or `export` found corrupt entries, a file is
        damaged, `check` has findings, or `warm` got other answers than 2xx; 2 if `check` cannot
        look at the class; 3 if there is no such store, namespace or file, it does not answer, not
        all was stored, or the result cannot be written; 130 if it was interrupted.

    Raises:
        SystemExit: With 2 if the command is wrong, with 0 after `--help` or `--version`.

    Example:
        >>> main(["info", "/nowhere/at/all"])
        3
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # the names of namespaces may hold any character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code, result, text = options.command.run(options)
    except (StoreError, ValueError, ImportError, OSError) as error:
        print(f"litcache: {printable(str(error))}", file=sys.stderr)
        return WRONG if options.command is check else FAILED
    except KeyboardInterrupt:
        print("litcache: interrupted", file=sys.stderr)
        return INTERRUPTED
    return _print(json.dumps(result) if options.json else text, code)


def _print(text: str, code: int) -> int:
    """Print a result and return the exit code: an uncaught error would exit with 1, `CORRUPT`."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Python writes what is left in the buffer when the process ends, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, such as `head`, has read enough
            print(f"litcache: the result cannot be written: {error}", file=sys.stderr)
            return FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "litcache",
        description="Check a class; look at, clear, verify, export, import, warm and plan a store.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"litcache {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in _COMMANDS.items():
        description = getattr(module, "DESCRIPTION", module.TEXT)
        command = commands.add_parser(name, help=module.TEXT, description=description)
        command.set_defaults(command=module)
        module.add(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
