"""The page of a run: ``report.html``, one file that needs no network, no script and no server.

What a run folder has is shown, what it has not is said in a line: a page has no empty boxes.
"""

from kernel_lab.publish.report.page import Subjects, write_report

__all__ = ["Subjects", "write_report"]
