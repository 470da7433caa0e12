"""Turns the evidence of a run into figures, cells, expectations, a verdict and the twin test.

Start in `analyse`, which turns evidence into a `harness.domain.result.Result`; `variant` computes
the figures of one variant, `verdict` the word and the exit code. The rules of the twin test are in
`twins` and `difference`. Nothing here starts a process or writes a file.
"""
