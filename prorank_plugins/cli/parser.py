"""An argument parser that takes options and positional arguments in any order."""

from __future__ import annotations

import argparse
from typing import Any


class AnyOrderParser(argparse.ArgumentParser):
    """Reads ``search DIR -k 5 QUERY``, which argparse refuses where ``QUERY`` may be left out.

    argparse calls that "intermixed" and has it for parsers without sub-commands only, at their top level.
    """

    _is_inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Options first, then what is left as positional arguments."""
        has_commands = any(action.nargs == argparse.PARSER for action in self._get_positional_actions())
        if self._is_inside or has_commands:
            return super().parse_known_args(args, namespace)
        self._is_inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False
