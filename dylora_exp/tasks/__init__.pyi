from . import base as base
from . import dart as dart
from . import webnlg as webnlg
from .base import TaskData as TaskData
from .base import checksums as checksums
from .base import read as read
from .demo_text import pretraining_text as pretraining_text
from .glue import repository as repository
from .score import score_files as score_files

__all__ = [
    "TaskData",
    "base",
    "checksums",
    "dart",
    "pretraining_text",
    "read",
    "repository",
    "score_files",
    "webnlg",
]
