"""What a person reads of a run: the terminal, Markdown, HTML, and runs side by side.

Start in `write`, which writes all reports of a run. `terminal`, `markdown` and `html` each make one
of the same tables (`matrix`, `measures`, `details`); `figures` and `charts` draw. Pages of studies
are in `twins_report` and `history_report`.
"""
