"""Submissions that graders have stumbled over, each with the marks that it deserves.

Beside this file is one module a class: ``honest`` but odd, ``faulty``, ``malformed`` and ``hostile``. Each
has a list `CASES`, and ``corpus`` has all of them. All answer the assignment of `tests.grading.attacks.course`.
"""
