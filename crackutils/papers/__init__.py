"""The two papers' figures, and the tables and figures that notebooks compute from records.

- `published`: the papers' tables as printed (paper A's Table 5 is `table(5)`, paper B's table is
  `iou_table()`, the files lie in `data/published/`), and what follows from the printed figures.
- `source`: which records a table or figure is computed from.
- `crack_tables`: paper A's tables, the paper's figures beside ours; recall by crack width.
- `fine_cracks`: the losses' recall of fine cracks at equal precision, with intervals.
- `road_tables`: paper B's IoU table, its open choices, classes, videos and label conventions.
- `bootstrap`: 95 % intervals over frames of videos and over seeds.
- `verdicts`: does paper B's conclusion hold in our runs, and which losses differ.
- `crack_figures`, `road_figures`, `pictures`: curves of paper A, of paper B, and pictures of what
  networks find; `captions`: what each figure shows, in computed sentences.
- `baselines`: what thresholds on grey levels reach without a network.
"""
