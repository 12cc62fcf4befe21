"""One NVIDIA GPU in one call: what it computes, how fast it trains, decodes and learns.

`checks`, `training_checks` and `generation_checks` hold the paths on the device against float64 on
the CPU, `ladder` measures a training step rung by rung, `decoding` a model of a billion parameters,
`characters` trains a small one to its goal, `report` keeps the time budget and the record. Run it
as `python -m benchmarks.gpu`.
"""
