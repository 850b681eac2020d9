"""All submissions of the corpus, and which of its classes each belongs to."""

from __future__ import annotations

from tests.grading.attacks import faulty, honest, hostile, malformed

CLASSES = {
    "honest": honest.CASES,
    "faulty": faulty.CASES,
    "malformed": malformed.CASES,
    "hostile": hostile.CASES,
}
CASES = [case for cases in CLASSES.values() for case in cases]
