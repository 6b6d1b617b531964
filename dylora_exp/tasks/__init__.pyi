from .base import Reader as Reader
from .base import TaskData as TaskData
from .base import checksums as checksums
from .base import count_texts as count_texts
from .base import needs_hub as needs_hub
from .base import read as read
from .base import reader_names as reader_names
from .base import repositories as repositories
from .base import subset as subset
from .demo_text import pretraining_text as pretraining_text
from .files import Broken as Broken
from .prediction_files import score_files as score_files

__all__ = [
    "Broken",
    "Reader",
    "TaskData",
    "checksums",
    "count_texts",
    "needs_hub",
    "pretraining_text",
    "read",
    "reader_names",
    "repositories",
    "score_files",
    "subset",
]
