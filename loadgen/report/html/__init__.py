"""The interactive page of a run: one file that needs nothing and asks for nothing.

values.py says what is shown, chart.py turns figures into what the chart library draws, table.py
turns the same figures into tables, and write.py puts all of it into one file.
"""

HTML_NAME = "report.html"
