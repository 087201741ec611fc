"""Two papers on segmentation losses, reproduced: what is longer than a notebook's cell.

The method, in the order of the data's way: `protocol` (every choice of a run), `losses`, `models`,
`batches` (which pixels make up a step), `training`, `evaluation` (tiles, counts at all thresholds),
`metrics`, `records`, `experiment` (train, evaluate, record), `device`; `files` is shared by all.
Rooms: `data` (data sets in, checked and divided), `papers` (published figures, tables, figures),
`cli` (the command line). To train one network and read its scores, as notebook 04 does:

    protocol = preset("quick").with_run("relu", 0.97, seed=0)
    record = complete(protocol, load("synthetic", protocol, runs), runs, results=None)
    threshold, scores = at_validation_threshold(read_arrays(record / "counts.npz"))
"""
