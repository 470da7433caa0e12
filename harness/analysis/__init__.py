"""What the evidence of a run means: figures, cells, expectations, the verdict, twins.

Start in `analyse`, which makes a `harness.domain.result.Result` of evidence; `variant` has the
figures of one variant, `verdict` the word and the exit code. The rules of the twin test are in
`twins` and `difference`. Nothing here starts, reads or writes anything.
"""
