"""Reports of a run: the terminal, Markdown, HTML, and runs side by side.

Start in `write`, which writes all reports of a run. `terminal`, `markdown` and `html` render the
same tables (`matrix`, `measures`, `details`); `figures` and `charts` draw. The reports of studies
are in `twins_report` and `history_report`.
"""
