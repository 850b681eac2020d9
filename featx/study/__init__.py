"""The learner's side: questions, exercises, hints, flash cards, review, exams and progress.

Importing this package is light; each name below loads what it needs on first use. In a notebook the
functions show widgets; where none can show, they print plain text.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, spelled out for editors and type checkers
    from featx.study.bank import list_questions as list_questions
    from featx.study.exercises import list_exercises as list_exercises
    from featx.study.exploring import explore as explore
    from featx.study.practice import check as check
    from featx.study.practice import exam as exam
    from featx.study.practice import flashcards as flashcards
    from featx.study.practice import hint as hint
    from featx.study.practice import progress as progress
    from featx.study.practice import quiz as quiz
    from featx.study.practice import rate_card as rate_card
    from featx.study.practice import review as review
    from featx.study.practice import solution as solution

# public name -> the module that defines it
_HOME = {
    "check": "practice",
    "exam": "practice",
    "explore": "exploring",
    "flashcards": "practice",
    "hint": "practice",
    "list_exercises": "exercises",
    "list_questions": "bank",
    "progress": "practice",
    "quiz": "practice",
    "rate_card": "practice",
    "review": "practice",
    "solution": "practice",
}

__all__ = [*_HOME]

#: Questions and cards of one `review()` or ``featx review``, where no other limit is given. It is kept here,
#: where the command line finds it at no cost.
REVIEW_LIMIT = 10


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"featx.study.{_HOME[name]}"), name)
    raise AttributeError(f"module 'featx.study' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
