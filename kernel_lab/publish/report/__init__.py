"""The page of a run: ``report.html``, one file that needs no network, no script and no server.

The page shows the figures that a run folder has, and says in one line which are missing. It has no empty boxes.
"""

from kernel_lab.publish.report.page import Subjects, write_report

__all__ = ["Subjects", "write_report"]
