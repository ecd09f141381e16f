"""Puts the repository's root on the path, so that the scripts of `data.training` can be imported from any place."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
