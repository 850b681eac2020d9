"""nbgrader's settings for this course; run `nbgrader` in this folder."""

c = get_config()  # noqa: F821  (nbgrader provides it)

c.CourseDirectory.course_id = "featx"

# A starter that returns nothing, instead of one that raises: what stays unanswered is told apart by
# the tests, and a forgotten `raise` cannot cost the marks of a finished answer.
c.ClearSolutions.code_stub = {"python": "# YOUR ANSWER HERE"}

# Seconds for one cell: importing torch on a busy machine takes a while.
c.ExecutePreprocessor.timeout = 120
