"""The experiments of a course report on CNN, RNN and LSTM, run again with tenun, Keras beside it.

    python -m examples.experiments list
    python -m examples.experiments run all --quick --out results

An experiment is a file in `grids`: rows as data.  `jobs` says what is done with a row, `runner` runs all rows alike,
`page` and `plots` write what came out.
"""
